"""Measure a trained detector: `python evaluate.py dataset=digits checkpoint=PATH`."""

from emsyolo.app.command import script

if __name__ == "__main__":
    script("evaluate")
