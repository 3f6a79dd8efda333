"""Write a checkpoint as ONNX, NIR or safetensors: `python export.py checkpoint=PATH format=onnx`."""

import sys

import hydra
from omegaconf import DictConfig

from emsyolo.app.run import check_words, run


@hydra.main(version_base="1.3", config_path="conf", config_name="export")
def main(cfg: DictConfig) -> None:
    """Compose, load, write."""
    from emsyolo.app.export import export  # here: torch takes seconds, for which a message need not wait

    run(export, cfg)


if __name__ == "__main__":
    check_words(sys.argv[1:])
    main()
