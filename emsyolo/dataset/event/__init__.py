"""Event cameras: recordings, their boxes, frames of them, their augmentation, and a simulated camera."""
