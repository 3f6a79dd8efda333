"""Measure a trained detector: `python evaluate.py dataset=digits checkpoint=PATH`."""

import sys

import hydra
from omegaconf import DictConfig

from emsyolo import app


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> float | None:
    """Compose, load, measure."""
    return app.run(app.evaluate, cfg)


if __name__ == "__main__":
    app.check_words(sys.argv[1:])
    main()
