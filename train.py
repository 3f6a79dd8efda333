"""Train a spiking detector: `python train.py model=ems_resnet34 T=4`."""

import sys

import hydra
from omegaconf import DictConfig

from emsyolo import app


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Compose, train, measure."""
    return app.run(app.train, cfg)


if __name__ == "__main__":
    app.check_words(sys.argv[1:])
    main()
