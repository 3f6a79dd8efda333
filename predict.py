"""Detect in images of your own: `python predict.py checkpoint=PATH source=FOLDER`."""

import sys

import hydra
from omegaconf import DictConfig

from emsyolo import app


@hydra.main(version_base="1.3", config_path="conf", config_name="predict")
def main(cfg: DictConfig) -> None:
    """Compose, load, detect."""
    app.run(app.predict, cfg)


if __name__ == "__main__":
    app.check_words(sys.argv[1:])
    main()
