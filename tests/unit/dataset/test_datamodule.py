from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from emsyolo.dataset.augment import HSV, Affine, Flip
from emsyolo.dataset.collate import collate
from emsyolo.dataset.datamodule import Augmented, DataModule, usual_size
from emsyolo.dataset.images import ImageDataset, Record, plain_record
from emsyolo.dataset.mosaic import Mosaic
from emsyolo.dataset.sampling import EpochSampler
from emsyolo.types import Batch, Sample

SIZE = (32, 64)


class Noise(ImageDataset):
    """Images of noise that the record's number decides, with one box each."""

    def __init__(self, count: int, class_names: tuple[str, ...] = ("a", "b")) -> None:
        records = [plain_record(i, None, (30, 50), [[i, 2, i + 10, 20]], [i % 2], name=f"n{i}") for i in range(count)]
        super().__init__(records, class_names, "noise")

    def _image(self, record: Record) -> torch.Tensor:
        generator = torch.Generator().manual_seed(record.id)
        return torch.randint(256, (3, *record.size_hw), dtype=torch.uint8, generator=generator)


def module(count: int = 11, **settings: Any) -> DataModule:
    given: dict[str, Any] = {
        "name": "noise",
        "size_hw": [32, 64],
        "train": lambda: Noise(count),
        "val": lambda: Noise(5),
        "augment": {"mosaic": Mosaic(SIZE, 0.5), "affine": Affine(), "none": None, "flip": Flip(), "hsv": HSV()},
        "batch_size": 4,
        "eval_batch_size": 2,
        "num_workers": 0,
    }
    return DataModule(**{**given, **settings})


def same(a: Batch, b: Batch) -> bool:
    boxes = zip(a.targets, b.targets, strict=True)
    return torch.equal(a.frames, b.frames) and all(torch.equal(x.boxes_xyxy, y.boxes_xyxy) for x, y in boxes)


def test_a_sample_depends_on_seed_epoch_and_index_alone() -> None:
    def frames(seed: int, epoch: int, index: int) -> torch.Tensor:
        return Augmented(Noise(9), [Mosaic(SIZE), Flip(), HSV()], seed)[epoch, index].frames

    first = frames(0, 2, 3)
    torch.rand(17)
    assert torch.equal(frames(0, 2, 3), first)
    assert not torch.equal(frames(1, 2, 3), first)
    assert not torch.equal(frames(0, 3, 3), first)
    assert not torch.equal(frames(0, 2, 4), first)


def test_samples_leave_the_global_generator_as_it_was() -> None:
    data = Augmented(Noise(9), [Mosaic(SIZE)], 0)
    before = torch.get_rng_state()
    data[0, 1]
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_give_the_batches_of_the_main_process() -> None:
    alone, helped = module().train_loader(), module(num_workers=2).train_loader()
    for epoch in range(2):
        alone.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        helped.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        assert all(same(a, b) for a, b in zip(alone, helped, strict=True))


def test_the_order_is_a_new_permutation_in_every_epoch() -> None:
    sampler = EpochSampler(20, True, seed=1)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert {key[0] for key in keys} == {epoch}
        orders.append([key[1] for key in keys])
    assert sorted(orders[0]) == list(range(20))
    assert orders[0] == orders[2] != orders[1]
    assert orders[0] != [key[1] for key in EpochSampler(20, True, seed=2)]


def test_without_shuffle_the_order_is_the_data_sets() -> None:
    assert list(EpochSampler(3, False, seed=1)) == [(0, 0), (0, 1), (0, 2)]


def test_skip_leaves_out_the_start_of_the_next_iteration_only() -> None:
    sampler = EpochSampler(10, True, seed=0)
    whole = list(sampler)
    sampler.skip = 4
    assert len(sampler) == 10
    assert list(sampler) == whole[4:]
    assert sampler.skip == 0
    assert list(sampler) == whole


def test_a_resumed_loader_gives_the_batches_that_were_left() -> None:
    whole = list(module().train_loader())
    resumed = module().train_loader()
    resumed.sampler.skip = 4  # type: ignore[attr-defined]
    assert len(whole) == len(resumed) == 2
    (rest,) = resumed
    assert same(rest, whole[1])


def test_training_shards_have_equal_length_and_cover_all() -> None:
    shards = [[key[1] for key in EpochSampler(10, True, 0, rank, 4)] for rank in range(4)]
    assert [len(shard) for shard in shards] == [3, 3, 3, 3] == [len(EpochSampler(10, True, 0, r, 4)) for r in range(4)]
    assert {index for shard in shards for index in shard} == set(range(10))
    alone = [key[1] for key in EpochSampler(10, True, 0)]
    dealt = [shards[i % 4][i // 4] for i in range(12)]
    assert dealt == alone + alone[:2]


def test_more_processes_than_training_images() -> None:
    assert [len(list(EpochSampler(2, True, 0, rank, 5))) for rank in range(5)] == [1, 1, 1, 1, 1]


def test_evaluation_shards_repeat_nothing() -> None:
    shards = [[key[1] for key in EpochSampler(10, False, 0, rank, 4)] for rank in range(4)]
    assert shards == [[0, 4, 8], [1, 5, 9], [2, 6], [3, 7]]
    assert [len(EpochSampler(10, False, 0, rank, 4)) for rank in range(4)] == [3, 3, 2, 2]


def test_a_rank_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="rank=2: expected 0 <= rank < world_size=2"):
        EpochSampler(10, True, 0, 2, 2)


def test_collate_stacks_frames_and_keeps_samples(make_sample: Callable[..., Sample]) -> None:
    samples = [
        make_sample(boxes=[[1, 2, 3, 4], [5, 6, 7, 8]], steps=2),
        make_sample(boxes=[], steps=2),
        make_sample(boxes=[[9, 9, 12, 13]], steps=2),
    ]
    batch = collate(samples)
    assert batch.frames.shape == (2, 3, 3, 30, 40)
    assert batch.frames.dtype == torch.uint8
    assert torch.equal(batch.frames[:, 2], samples[2].frames)
    for kept, sample in zip(batch.samples, samples, strict=True):
        assert kept.frames.shape == (2, 3, 0, 0)
        assert torch.equal(kept.targets.boxes_xyxy, sample.targets.boxes_xyxy)
        assert torch.equal(kept.targets.labels, sample.targets.labels)
        assert torch.equal(kept.targets.ignore, sample.targets.ignore)
        assert kept.name == sample.name


def test_collate_refuses_different_sizes(make_sample: Callable[..., Sample]) -> None:
    with pytest.raises(ValueError, match="end with a Letterbox"):
        collate([make_sample((30, 40)), make_sample((40, 30))])


def test_training_batches_are_full_and_letterboxed() -> None:
    batches = list(module(11).train_loader())
    assert [len(batch) for batch in batches] == [4, 4]
    assert batches[0].frames.shape == (1, 4, 3, 32, 64)


def test_an_only_batch_is_kept_if_not_full() -> None:
    assert [len(batch) for batch in module(3).train_loader()] == [3]
    assert [len(batch) for batch in module(4).train_loader()] == [4]


def test_validation_batches_are_all_in_order_and_not_augmented() -> None:
    batches = list(module().val_loader())
    assert [sample.id for batch in batches for sample in batch.samples] == [0, 1, 2, 3, 4]
    assert [len(batch) for batch in batches] == [2, 2, 1]
    # 30x50 into 32x64: ratio 16/15, 53 px wide (of 53.3), 5 px to the left.
    assert batches[0].samples[0].offset_xy == (5, 0)
    assert same(batches[0], next(iter(module().val_loader())))


def test_sets_are_opened_when_asked_for() -> None:
    def refuse() -> ImageDataset:
        raise AssertionError("opened")

    assert module(train=refuse).class_names == ("a", "b")


def test_classes_must_agree() -> None:
    with pytest.raises(
        ValueError, match=r"training set noise has the classes \['a', 'c'\].*validation set noise \['a'"
    ):
        module(train=lambda: Noise(3, ("a", "c"))).train  # noqa: B018
    with pytest.raises(ValueError, match=r"dataset.class_names=\['x'\], but noise has \['a', 'b'\]"):
        module(class_names=["x"]).class_names  # noqa: B018


@pytest.mark.parametrize(("size", "near"), [([100, 128], r"\[96, 128\]"), ([96, 10], r"\[96, 32\]"), ([96], r"\[96\]")])
def test_a_size_that_is_no_multiple_of_the_stride_is_refused(size: list[int], near: str) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.size_hw=.*stride 32 px; the nearest are {near}"):
        module(size_hw=size)


def test_batch_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dataset\.eval_batch_size=0: expected at least 1"):
        module(eval_batch_size=0)


@pytest.mark.parametrize(
    ("sizes_hw", "usual"),
    [
        ([(3024, 4032)], (256, 320)),  # 240 px is as far from 224 as from 256
        ([(640, 480), (640, 480), (200, 2000)], (320, 256)),
        ([(427, 640), (640, 427)], (320, 320)),
        ([(50, 50)], (320, 320)),
        ([(10, 1000)], (32, 320)),
        ([(1080, 1920)], (192, 320)),
    ],
)
def test_the_usual_size_has_the_shape_of_the_images(sizes_hw: list[tuple[int, int]], usual: tuple[int, int]) -> None:
    assert usual_size(sizes_hw) == usual
