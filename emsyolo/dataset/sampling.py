"""The order of samples: decided by seed and epoch, shared by several processes, and resumable inside an epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

Key = tuple[int, int]  # (epoch, index of the sample)


def mixed_seed(*numbers: int) -> int:
    """One seed of 64 bits from several numbers; neighbours give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


class EpochSampler(Sampler[Key]):
    """Keys (epoch, index) in an order that seed and epoch decide; can start inside an epoch.

    For several processes, each takes every `world_size`-th key. For training (`shuffle`) the keys wrap around until
    all have equally many; for evaluation none is repeated.

    Args:
        length: of the data set.
        shuffle: a new order in every epoch; else that of the data set.
        seed: of the order, >= 0.
        rank: number of this process.
        world_size: number of processes.

    Attributes:
        skip: keys of this process to leave out at the start of the next iteration, which sets it back to 0.
    """

    def __init__(self, length: int, shuffle: bool, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank}: expected 0 <= rank < world_size={world_size}")
        self.length = length
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is of."""
        self.epoch = epoch

    def go_on(self, keys: int) -> None:
        """Let the next iteration begin after so many keys of this process."""
        self.skip = keys

    def __len__(self) -> int:
        whole, rest = divmod(self.length, self.world_size)
        return whole + (rest > 0 if self.shuffle else self.rank < rest)

    def __iter__(self) -> Iterator[Key]:
        order = np.arange(self.length)
        if self.shuffle:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch))
            order = np.resize(torch.randperm(self.length, generator=generator).numpy(), len(self) * self.world_size)
        skip, self.skip = self.skip, 0
        return iter([(self.epoch, int(index)) for index in order[self.rank :: self.world_size][skip:]])
