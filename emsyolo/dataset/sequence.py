"""Training on streams: which steps of which recordings stand in a batch, and in what order.

A batch is partly streams, places that walk whole recordings in order while the network's state is carried on from batch
to batch, and partly clips of random recordings, before which the network remembers nothing. RVT (Gehrig and Scaramuzza,
CVPR 2023) mixes both, half and half. Differs in that the order is a plan that seed and epoch decide: batches come in
order from any number of loading processes, and a training can go on inside an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from emsyolo.dataset.augment import Fit
from emsyolo.dataset.event.augment import Change
from emsyolo.dataset.event.dataset import EventDataset
from emsyolo.dataset.event.walk import Part, parts
from emsyolo.dataset.sampling import mixed_seed
from emsyolo.types import Clip

STREAMS = 2**32  # in a seed, in place of a batch's number


@dataclass(frozen=True)
class Streams:
    """How a training walks recordings.

    Attributes:
        length: steps of a clip, over which the gradient goes back.
        stream_share: of the places of a batch; the rest are random clips.
        max_gap: steps; where labelled times are further apart, a stream begins anew. None: `length`.

    Raises:
        ValueError: no steps, a share outside [0, 1], or a gap in which a clip could have no label.
    """

    length: int
    stream_share: float = 0.5
    max_gap: int | None = None

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"dataset.sequence={self.length}: expected at least 1 step, or null")
        if not 0 <= self.stream_share <= 1:
            raise ValueError(f"dataset.stream_share={self.stream_share}: expected a share in [0, 1]")
        if self.max_gap is not None and not 1 <= self.max_gap <= self.length:
            raise ValueError(
                f"dataset.max_gap={self.max_gap}: expected 1 to dataset.sequence={self.length} steps, so that every "
                "clip has a label"
            )


@dataclass(frozen=True)
class ClipKey:
    """A clip of the plan.

    Attributes:
        recording: its number.
        first: step.
        goes_on: from the clip that stood in the same place of the batch before.
        scene: seed of the changes that hold as long as the place walks the same part.
        noise: seed of what is drawn anew in every clip.
    """

    recording: int
    first: int
    goes_on: bool
    scene: int
    noise: int


class Clips(Dataset[Clip]):
    """The clips of recordings, by the keys of a plan: a clip depends only on its key, whatever process makes it.

    Args:
        dataset: recordings.
        length: steps of a clip.
        fit: brings frames to the size of the network's input.
    """

    def __init__(self, dataset: EventDataset, length: int, fit: Fit) -> None:
        self.dataset = dataset
        self.length = length
        self.fit = fit

    def __len__(self) -> int:
        return len(self.dataset.walks)

    def __getitem__(self, key: ClipKey) -> Clip:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(key.scene)
            changes: list[Change] = [transform.draw() for transform in self.dataset.augment]
            torch.default_generator.manual_seed(key.noise)
            clip = self.dataset.clip(key.recording, key.first, self.length, changes)
        whole = self.fit(replace(clip.samples[0], frames=clip.frames))
        samples = tuple(self.fit(sample) for sample in clip.samples)
        return Clip(whole.frames, samples, clip.ends, key.goes_on)


class StreamSampler(Sampler[list[ClipKey]]):
    """The batches of an epoch, in which streams walk every part of every recording about once.

    Args:
        dataset: recordings.
        sequence: how they are walked.
        batch_size: places of a batch, per process.
        seed: of the order, >= 0.
        rank: number of this process.
        world_size: number of processes; all have equally many batches.

    Attributes:
        skip: batches to leave out at the start of the next iteration, which sets it back to 0.

    Raises:
        ValueError: no place for streams, or none for clips, where the share asks for some.
    """

    def __init__(
        self,
        dataset: EventDataset,
        sequence: Streams,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.streams = round(batch_size * sequence.stream_share)
        self.clips = batch_size - self.streams
        if (sequence.stream_share > 0) != (self.streams > 0) or (sequence.stream_share < 1) != (self.clips > 0):
            raise ValueError(
                f"dataset.stream_share={sequence.stream_share} of batch_size={batch_size}: expected at least one place "
                "for streams and one for clips"
            )
        self.length = sequence.length
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.skip = 0
        self._parts: list[Part] = []
        ends: list[tuple[int, int]] = []
        for number, (steps, _) in enumerate(dataset.walks):
            self._parts += parts(steps.ends, number, sequence.length, sequence.max_gap or sequence.length)
            ends += [(number, end) for end in sorted(set(steps.ends))]
        # A clip ends at a labelled time; it does not begin before its recording, where any is long enough.
        self._ends = [one for one in ends if one[1] >= sequence.length] or ends

    @property
    def sampler(self) -> StreamSampler:
        """Itself: Lightning tells the sampler of a batch sampler which epoch it is."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is of."""
        self.epoch = epoch

    def go_on(self, batches: int) -> None:
        """Let the next iteration begin after so many batches."""
        self.skip = batches

    def __len__(self) -> int:
        if not self.streams:
            return -(-len(self._ends) // (self.clips * self.world_size))
        chunks = sum(self._chunks(part) for part in self._parts)
        return -(-chunks // (self.streams * self.world_size))

    def __iter__(self) -> Iterator[list[ClipKey]]:
        skip, self.skip = self.skip, 0
        generator = np.random.default_rng([self.seed, self.epoch])
        order = self._endless(np.random.default_rng(generator.integers(2**63)))
        places = [self._walk(order) for _ in range(self.streams * self.world_size)]
        clips = self.clips * self.world_size
        picked = np.resize(generator.permutation(len(self._ends)), len(self) * clips).reshape(len(self), clips)
        for batch in range(len(self)):
            keys = [next(place) for place in places]
            for place, number in enumerate(picked[batch].tolist()):
                recording, end = self._ends[number]
                seed = mixed_seed(self.seed, self.epoch, batch, place)
                keys.append(ClipKey(recording, end - self.length, False, seed, seed))
            if batch >= skip:
                yield keys[self.rank :: self.world_size]

    def _endless(self, generator: np.random.Generator) -> Iterator[tuple[int, Part]]:
        """All parts in a random order, again and again, numbered."""
        turns = count()
        while True:
            for number in generator.permutation(len(self._parts)).tolist():
                yield next(turns), self._parts[number]

    def _walk(self, order: Iterator[tuple[int, Part]]) -> Iterator[ClipKey]:
        """The clips of one place, which takes the next part in order when it has walked one."""
        for turn, part in order:
            scene = mixed_seed(self.seed, self.epoch, STREAMS, turn)
            for chunk in range(self._chunks(part)):
                noise = mixed_seed(self.seed, self.epoch, STREAMS, turn, chunk + 1)
                yield ClipKey(part.recording, part.first + chunk * self.length, chunk > 0, scene, noise)

    def _chunks(self, part: Part) -> int:
        return -(-(part.last - part.first) // self.length)
