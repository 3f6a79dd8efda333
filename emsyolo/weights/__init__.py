"""Weights in files."""

BEST, LAST = "best.ckpt", "last.ckpt"  # of a run, in its folder `checkpoints`
