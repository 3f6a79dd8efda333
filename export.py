"""Write a checkpoint as ONNX, NIR or safetensors: `python export.py checkpoint=PATH format=onnx`."""

import sys

import hydra
from omegaconf import DictConfig

from emsyolo import app


@hydra.main(version_base="1.3", config_path="conf", config_name="export")
def main(cfg: DictConfig) -> None:
    """Compose, load, write."""
    app.run(app.export, cfg)


if __name__ == "__main__":
    app.check_words(sys.argv[1:])
    main()
