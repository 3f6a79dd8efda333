"""From configs to objects: with the scripts, the only reader of Hydra. Python enters by `call` and `load_detector`."""

from emsyolo.app.build import build_detector
from emsyolo.app.evaluate import evaluate
from emsyolo.app.export import export
from emsyolo.app.predict import predict
from emsyolo.app.python import call, load_detector
from emsyolo.app.run import check_words, run
from emsyolo.app.train import train

__all__ = ["build_detector", "call", "check_words", "evaluate", "export", "load_detector", "predict", "run", "train"]
