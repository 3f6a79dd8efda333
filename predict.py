"""Detect in images of your own: `python predict.py source=FOLDER`."""

from emsyolo.app.command import script

if __name__ == "__main__":
    script("predict")
