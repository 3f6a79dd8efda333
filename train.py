"""Train a spiking detector: `python train.py model=ems_resnet34 T=4`."""

from emsyolo.app.command import script

if __name__ == "__main__":
    script("train")
