"""Ways through a data set: read-outs on the way, and what is counted."""

from __future__ import annotations

import pytest
import torch

from emsyolo.app.build import build_detector
from emsyolo.app.passes import ANN, Direct, Simulated, read_out_times
from emsyolo.convert.converter import Conversion, Rule, convert
from emsyolo.deploy.unroll import unrolled
from emsyolo.evaluator.activity import Activity


def simulated(times: list[int], rule: Rule) -> dict[int, Activity]:
    """The activity of two batches, of two images and of one, read out at some T."""
    torch.manual_seed(0)
    ann = build_detector("spiking_yolov3", 2, 1, ["model.width=0.05"]).eval()
    frames = torch.rand(1, 3, 3, 32, 64)
    settings = Conversion(rule=rule, normalise="max", chunk=5 if rule != "delayed" else 16)
    spiking = convert(ann, lambda: [frames], settings)
    spiking.T = times[-1]
    passes = Simulated(spiking, times, ann)
    with torch.no_grad():
        for some in (frames[:, :2], frames[:, 2:]):
            assert set(passes.maps(some)) == {ANN, *times}
    assert all(error > 0 for error in passes.map_errors().values())
    return passes.activities()


def same_activity(found: Activity, expected: Activity) -> None:
    assert found.firing_rate == pytest.approx(expected.firing_rate, rel=1e-6)
    for one, other in zip(found.layers, expected.layers, strict=True):
        for key in ("name", "levels", "signed", "binary"):
            assert getattr(one, key) == getattr(other, key), one.name
        for key in ("firing_rate", "macs", "synops", "passes"):
            assert getattr(one, key) == pytest.approx(getattr(other, key), rel=1e-6), (one.name, key)


@pytest.mark.parametrize("rule", ["plain", "signed", "delayed"])
def test_what_is_read_out_on_the_way_equals_a_pass_that_ends_there(rule: Rule) -> None:
    together = simulated([4, 7, 16], rule)
    for t in (4, 7, 16):
        same_activity(together[t], simulated([t], rule)[t])
    by_name = {one.name: one for one in together[16].layers}
    assert [by_name[name].passes for name in ("backbone.fine.0.0", "head.maps.0", "neck.reduce.0")] == [1, 1, 16]
    assert by_name["neck.reduce.0"].levels == 1
    assert by_name["neck.reduce.0"].signed == (rule == "signed")


def test_a_direct_pass_is_read_out_on_the_way() -> None:
    torch.manual_seed(0)
    detector = build_detector("ems_resnet10", 2, 4, ["model.width=0.125", "neuron.v_threshold=0.2"]).eval()
    frames = torch.rand(1, 2, 3, 64, 96)
    passes = Direct(detector, [1, 3])
    with torch.no_grad():
        found = passes.maps(frames)
        for t in (1, 3, 4):
            detector.T = t
            for mine, other in zip(found[t].maps, detector(frames).maps, strict=True):
                torch.testing.assert_close(mine, other)
    assert type(found[4].maps[0]) is torch.Tensor


@pytest.mark.parametrize("overrides", [["neuron.v_threshold=0.2"], ["neuron=ilif", "neuron.levels=3"]])
def test_the_activity_of_a_direct_pass_on_the_way_is_that_of_one_that_ends_there(overrides: list[str]) -> None:
    torch.manual_seed(0)
    detector = build_detector("ems_resnet10", 2, 4, ["model.width=0.125", *overrides]).eval()
    detector = unrolled(detector) if "neuron=ilif" in overrides else detector
    batches = torch.rand(1, 4, 3, 64, 96), torch.rand(1, 3, 3, 64, 96)  # four images are as many as steps
    passes = Direct(detector, [1, 3])
    with torch.no_grad():
        for frames in batches:
            passes.maps(frames)
        together = passes.activities()
        assert list(together) == [1, 3, 4]
        for t in (1, 3, 4):
            detector.T = t
            ends_there = Direct(detector, [t])
            for frames in batches:
                ends_there.maps(frames)
            same_activity(together[t], ends_there.activities()[t])
    assert together[1].firing_rate != together[4].firing_rate


def test_read_outs_are_within_the_steps() -> None:
    assert read_out_times(6, None) == (1, 2, 4, 6)
    assert read_out_times(6, [3, 1, 3]) == (1, 3, 6)
    for times in ([0], [7], [2.5], [True]):
        with pytest.raises(ValueError, match=r"read_out is .*; expected whole numbers of steps from 1 to T = 6"):
            read_out_times(6, times)  # type: ignore[arg-type]
