"""Measure a trained detector: `python evaluate.py dataset=digits checkpoint=PATH`."""

import sys

import hydra
from omegaconf import DictConfig

from emsyolo.app.run import check_words, run


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> float | None:
    """Compose, load, measure."""
    from emsyolo.app.evaluate import evaluate  # here: torch takes seconds, for which a message need not wait

    return run(evaluate, cfg)


if __name__ == "__main__":
    check_words(sys.argv[1:])
    main()
