"""Detect in images of your own: `python predict.py checkpoint=PATH source=FOLDER`."""

import sys

import hydra
from omegaconf import DictConfig

from emsyolo.app.run import check_words, run


@hydra.main(version_base="1.3", config_path="conf", config_name="predict")
def main(cfg: DictConfig) -> None:
    """Compose, load, detect."""
    from emsyolo.app.predict import predict  # here: torch takes seconds, for which a message need not wait

    run(predict, cfg)


if __name__ == "__main__":
    check_words(sys.argv[1:])
    main()
