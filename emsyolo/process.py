"""Which of several processes this one is, before any of them talks to another."""

from __future__ import annotations

import os

from lightning_utilities.core.rank_zero import rank_zero_only

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # as Lightning reads them, in its order


def process_rank() -> int:
    """The number of this process: as Lightning knows it, or as torchrun or SLURM say it; else 0."""
    known = getattr(rank_zero_only, "rank", None)
    if known is not None:
        return int(known)
    return next((int(os.environ[name]) for name in RANKS if name in os.environ), 0)
