"""Detectors along streams."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emsyolo.app import build_detector
from emsyolo.model.along import read_along, warmed_up
from emsyolo.model.detector import Detector
from emsyolo.neuron.state import take
from emsyolo.types import Batch, Read, Sample, Targets

STEPS = 2


def small(neuron: str = "lif") -> Detector:
    torch.manual_seed(0)
    overrides = ["model.width=0.125", "model.in_channels=2", "neuron.v_threshold=0.2", f"neuron={neuron}"]
    return build_detector("ems_resnet10", 3, STEPS, overrides)


def sample(number: int, lead: int = 0) -> Sample:
    return Sample(torch.empty(0), Targets.none(), number, str(number), (64, 64), lead=lead)


def frames(steps: int, count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (steps, count, 2, 64, 64), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("neuron", ["lif", "ilif"])
def test_one_pass_is_step_by_step(neuron: str) -> None:
    detector, x = small(neuron).eval(), frames(6, 1)
    # oneDNN's sums may depend on how many images it convolves at once.
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
        whole, end = detector.run(x, read_out=[range(i, i + 1) for i in range(6)], steps=6)
        state = None
        for step, maps in enumerate(whole.split(6)):
            found, state = detector.run(x[step : step + 1], state, steps=1)
            for mine, other in zip(found.maps, maps.maps, strict=True):
                assert torch.equal(mine, other)
    assert state is not None
    for module, memories in state.values.items():
        for name, value in memories.items():
            assert torch.equal(value, end.values[module][name])


def test_each_sample_is_warmed_up_with_its_own_frames() -> None:
    detector = small().train()
    x, lead = frames(4, 3), (0, 2, 4)
    batch = Batch(frames(STEPS, 3, seed=1), tuple(map(sample, range(3), lead)), x)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    state = warmed_up(detector, batch)
    assert state is not None
    assert detector.training
    assert all(module.training for module in detector.modules())
    for name, value in detector.state_dict().items():
        assert torch.equal(value, before[name])
    detector.eval()
    with torch.no_grad():
        maps, _ = detector.run(batch.frames, state)
        for place, count in enumerate(lead):
            after = detector.run(x[4 - count :, place : place + 1], steps=count)[1] if count else None
            expected, _ = detector.run(batch.frames[:, place : place + 1], after)
            for mine, other in zip(maps.maps, expected.maps, strict=True):
                torch.testing.assert_close(mine[place : place + 1], other)


def test_without_frames_before_there_is_nothing_to_remember() -> None:
    assert warmed_up(small(), Batch(frames(STEPS, 1), (sample(0),))) is None


def test_gradients_of_half_precision_survive_the_warm_up() -> None:
    detector = small().train()
    batch = Batch(frames(STEPS, 2, seed=1), (sample(0, 3), sample(1, 1)), frames(3, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        state = warmed_up(detector, batch)
        maps, _ = detector.run(batch.frames, state)
        sum(level.float().square().sum() for level in maps.maps).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4), st.integers(1, 3))
def test_state_of_one_place_never_reaches_another(goes_on: list[list[bool]], length: int) -> None:
    detector = small().eval()
    reads = tuple(Read(place, range(max(0, length - STEPS), length)) for place in range(3))
    state, alone = None, [None, None, None]
    with torch.no_grad():
        for number, flags in enumerate(goes_on):
            x = frames(length, 3, seed=number)
            flags = torch.tensor(flags) if number else torch.zeros(3, dtype=torch.bool)
            batch = Batch(x, tuple(map(sample, range(3))), reads=reads, goes_on=flags, window=STEPS)
            maps, state = read_along(detector, batch, state)
            for place in range(3):
                mine = alone[place] if flags[place] else None
                found, alone[place] = detector.run(
                    x[:, place : place + 1], mine, [range(max(0, length - STEPS), length)], length
                )
                for whole, one in zip(maps.maps, found.maps, strict=True):
                    torch.testing.assert_close(whole[place : place + 1], one)


def test_a_clip_from_nothing_is_a_window_from_nothing() -> None:
    detector = small().eval()
    x = frames(STEPS, 2)
    reads = (Read(1, range(STEPS)), Read(0, range(STEPS)), Read(0, range(1)))
    batch = Batch(x, tuple(map(sample, range(3))), reads=reads, goes_on=torch.zeros(2, dtype=torch.bool), window=STEPS)
    with torch.no_grad():
        maps, after = read_along(detector, batch, None)
        window = detector(x)
        first, _ = detector.run(x[:1], steps=1)
    for mine, whole, one in zip(maps.maps, window.maps, first.maps, strict=True):
        assert torch.equal(mine[:2], whole[[1, 0]])
        torch.testing.assert_close(mine[2], one[0])
    assert take(detector).values.keys() == after.values.keys()


def test_a_frame_may_be_shown_for_several_steps() -> None:
    detector = small().eval()
    x = frames(3, 1)
    reads = (Read(0, range(2, 3)),)
    batch = Batch(x, (sample(0),), reads=reads, goes_on=torch.zeros(1, dtype=torch.bool), window=1)
    with torch.no_grad():
        maps, _ = read_along(detector, batch, None)
        state = None
        for step in range(3):
            found, state = detector.run(x[step : step + 1], state)
    for mine, other in zip(maps.maps, found.maps, strict=True):
        torch.testing.assert_close(mine, other)
