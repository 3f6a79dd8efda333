"""Train a spiking detector: `python train.py model=ems_resnet34 T=4`."""

import sys

import hydra
from omegaconf import DictConfig

from emsyolo.app.run import check_words, run


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Compose, train, measure."""
    from emsyolo.app.train import train  # here: torch takes seconds, for which a message need not wait

    return run(train, cfg)


if __name__ == "__main__":
    check_words(sys.argv[1:])
    main()
