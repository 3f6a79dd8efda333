"""Spiking object detectors that people can train, convert, measure and deploy."""

__version__ = "0.1.0"
