"""LIF, surrogate and tdBN against SpikingJelly."""

from __future__ import annotations

import pytest
import torch
from spikingjelly.activation_based import layer, neuron, surrogate

from emsyolo.layer.multistep import over_time
from emsyolo.layer.tdbn import TdBN
from emsyolo.neuron.lif import LIF, Backend, lif


def dyadic(*shape: int) -> torch.Tensor:
    """Multiples of 1/16: exact in float, so the two ways to write the leak agree, and full of ties."""
    return torch.randint(-16, 24, shape).double() / 16


@pytest.mark.parametrize("T", [1, 2, 5, 16])
@pytest.mark.parametrize(("decay", "v_threshold", "width"), [(0.25, 0.5, 1.0), (0.5, 1.0, 0.5), (0.75, 0.25, 2.0)])
@pytest.mark.parametrize("detach", [True, False])
def test_spikes_and_gradients_are_spikingjellys(
    T: int, decay: float, v_threshold: float, width: float, detach: bool
) -> None:
    theirs = neuron.LIFNode(
        tau=1 / (1 - decay),
        decay_input=False,
        v_threshold=v_threshold,
        v_reset=0.0,
        detach_reset=detach,
        step_mode="m",
        surrogate_function=surrogate.Rect(alpha=1 / width),
    )
    x = dyadic(T, 3, 2, 4, 7)
    weight = dyadic(T, 3, 2, 4, 7)
    spikes, grads = [], []
    for run in (
        theirs,
        lambda x: lif(x, decay=decay, v_threshold=v_threshold, surrogate_width=width, detach_reset=detach),
    ):
        leaf = x.clone().requires_grad_()
        out = run(leaf)
        (out * weight).sum().backward()
        spikes.append(out.detach())
        grads.append(leaf.grad)
    assert torch.equal(spikes[0], spikes[1])
    assert 0 < spikes[0].mean() < 1
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-12, atol=1e-12)


def test_ties_occur_in_that_data_and_fire() -> None:
    x = dyadic(1, 3, 2, 4, 7)
    assert (x == 0.5).any()
    assert lif(x, decay=0.25, v_threshold=0.5, surrogate_width=1.0)[x == 0.5].all()


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_all_backends_of_the_node_agree(backend: Backend) -> None:
    x = dyadic(4, 2, 3, 5, 6)
    mine, theirs = LIF(backend=backend), LIF(backend="spikingjelly")
    assert torch.equal(mine(x), theirs(x))
    assert torch.equal(mine.v, theirs.v)


@pytest.mark.parametrize("training", [True, False])
def test_tdbn(training: bool) -> None:
    mine = TdBN(3, v_threshold=0.5, alpha=0.2).train(training)
    theirs = layer.ThresholdDependentBatchNorm2d(0.2, 0.5, 3).train(training)
    x = torch.randn(4, 2, 3, 5, 6)
    torch.testing.assert_close(over_time(x, mine), theirs(x))
    torch.testing.assert_close(mine.running_var, theirs.running_var)
