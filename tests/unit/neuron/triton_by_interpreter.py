"""Run by test_triton.py in a process of its own, where Triton interprets its kernels: they give numba's bits.

Constants and currents are such that nothing is rounded, because numba fuses multiplications and additions and Triton
does not; how Triton rounds is compared with torch's single operations.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import torch
from test_cuda_grid import SHAPES, back_case, norm_case
from torch import Tensor

from emsyolo.neuron.kernels import compiled, integer, integrate
from emsyolo.neuron.kernels import triton_kernels as ours

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
LAYOUTS: list[Callable[[Tensor], Tensor]] = [
    lambda x: x,
    lambda x: x.transpose(1, -1).contiguous().transpose(1, -1),
    lambda x: x[..., ::2],
    lambda x: x[:1].expand(len(x), *x.shape[1:]),
]


def same(found: Tensor, wanted: Tensor, what: object) -> None:
    assert found.dtype == wanted.dtype, what
    assert found.shape == wanted.shape, what
    assert found.stride() == wanted.stride(), what
    assert torch.equal(found, wanted), what


def cases() -> list[tuple[torch.dtype, int, Callable[[Tensor], Tensor], bool]]:
    """Every dtype with every number of steps and every layout; every other one starts from a potential."""
    return [
        (dtype, steps, LAYOUTS[(i + j) % len(LAYOUTS)], j % 2 == 0)
        for i, dtype in enumerate(DTYPES)
        for j, steps in enumerate([1, 3, 4, 9])
    ]


def first(x: Tensor) -> Tensor:
    return torch.rand(x.shape[1:]).mul(8).round().div(8).to(torch.promote_types(x.dtype, torch.float32))


def binary(dtype: torch.dtype, steps: int, layout: Callable[[Tensor], Tensor], starts: bool) -> None:
    x = layout(((torch.randn(steps, 2, 3, 10, dtype=torch.float64) * 8).round() / 8).to(dtype))
    v = first(x) if starts else None
    grad = (torch.randn(x.shape, dtype=torch.float64) * 8).round().div(8).to(dtype)
    for soft, keep in itertools.product([False, True], [False, True]):
        constants = {"decay": 0.25, "v_threshold": 0.5, "surrogate_width": 0.5, "soft_reset": soft, "keep": keep}
        wanted, found = (place.forward(x, v, **constants) for place in (compiled, ours))
        for one, other in zip(found, wanted, strict=True):
            same(one, other, (constants, dtype, steps))
        if keep:
            bits, constants = found[1], {"decay": 0.25, "surrogate_width": 0.5, "soft_reset": soft}
            same(ours.backward(grad, bits, **constants), compiled.backward(grad, bits, **constants), (dtype, steps))
            same(ours.unpack(bits, steps, dtype), compiled.unpack(bits, steps, dtype), (dtype, steps))


def integers(dtype: torch.dtype, steps: int, layout: Callable[[Tensor], Tensor], starts: bool) -> None:
    x = layout(((torch.randn(steps, 2, 3, 10, dtype=torch.float64) * 16).round() / 4).to(dtype))
    v = first(x) if starts else None
    grad = (torch.randn(x.shape, dtype=torch.float64) * 8).round().div(8).to(dtype)
    for levels, keep in itertools.product([1, 4, 127], [False, True]):
        constants = {"decay": 0.25, "input_scale": 0.5, "levels": levels}
        wanted = integer.forward(x, v, **constants, keep=keep)
        found = ours.integer_forward(x, v, **constants, keep=keep)
        for one, other in zip(found, wanted, strict=True):
            same(one, other, (constants, dtype, steps))
        if keep:
            bits = found[1]
            same(ours.integer_backward(grad, bits, **constants), integer.backward(grad, bits, **constants), constants)
            same(ours.integer_unpack(bits, steps, levels, dtype), integer.unpack(bits, steps, levels, dtype), constants)


def spikes_of_converted_networks() -> None:
    for negative, repay, needs_spike in [(-math.inf, 0.0, False), (-1e-6, 1.0, True), (-10.0, 10.0, False)]:
        x, v = (torch.randn(20, 2, 30) * 8).round() / 4, torch.rand(2, 30)
        rule = {"negative": negative, "repay": repay, "needs_spike": needs_spike}
        wanted, found = (
            integrate.forward(x, v, torch.zeros_like(v), **rule),
            ours.integrate(x, v, torch.zeros_like(v), **rule),
        )
        for one, other in zip(found, wanted, strict=True):
            same(one, other, rule)


def rounds_after_every_operation() -> None:
    for dtype in (torch.float32, torch.float64):
        x, grad = torch.randn(2, 4, 500, dtype=dtype)
        u, left, later = torch.zeros(3, 500, dtype=dtype)
        spikes, integer_spikes, gradients = [], [], []
        for current in x:
            scaled = 0.3 * u
            u = current + scaled
            fired = u >= 0.7
            u = torch.where(fired, u - 0.7, u)
            spikes.append(fired.to(dtype))
            scaled, decayed = current * 0.7, 0.3 * left
            left = scaled + decayed
            integer_spikes.append(left.clamp(0, 4).round())
            left = left - integer_spikes[-1]
        found = ours.forward(x, None, decay=0.3, v_threshold=0.7, surrogate_width=0.9, soft_reset=True, keep=True)
        same(found[0], torch.stack(spikes), dtype)
        same(found[2], u, dtype)
        for t in reversed(range(4)):
            own, decayed = torch.where(found[1][0] >> (4 + t) & 1 == 1, grad[t] * (1 / 0.9), 0), 0.3 * later
            later = own + decayed
            gradients.insert(0, later)
        same(
            ours.backward(grad, found[1], decay=0.3, surrogate_width=0.9, soft_reset=True),
            torch.stack(gradients),
            dtype,
        )
        found = ours.integer_forward(x, None, decay=0.3, input_scale=0.7, levels=4, keep=False)
        same(found[0], torch.stack(integer_spikes), dtype)
        same(found[2], left, dtype)


def bfloat16_is_rounded_to_the_nearest() -> None:
    grad = torch.randn(1, 5000, dtype=torch.float32).to(torch.bfloat16)
    bits = torch.full((1, 5000), 16, dtype=torch.uint8)
    found = ours.backward(grad, bits, decay=0.25, surrogate_width=3.0, soft_reset=False)
    slope = torch.tensor(1 / 3.0, dtype=torch.float32)
    same(found, (grad.float() * slope).to(torch.bfloat16), "nearest")


def many_programs() -> None:
    x = torch.randn(5, 2, 3, 701)  # 4,206 neurons: five programs, the last one not full
    constants = {"decay": 0.25, "v_threshold": 0.5, "surrogate_width": 1.0, "soft_reset": False, "keep": True}
    for one, other in zip(ours.forward(x, None, **constants), compiled.forward(x, None, **constants), strict=True):
        same(one, other, "many programs")
    assert ours.forward(x[:, :0], None, **constants)[0].shape == (5, 0, 3, 701)


def behind_a_normalisation() -> None:
    for dtype in DTYPES:
        chance = random.Random(f"{dtype}")
        for number in range(8):
            ours.SUM_PROGRAMS = 2 if number % 2 else 32  # few: programs take more than one tile
            norm_case(chance, dtype, ours)
            back_case(chance, dtype, ours, SHAPES[1:7])


if __name__ == "__main__":
    torch.manual_seed(0)
    for case in cases():
        binary(*case)
        integers(*case)
    spikes_of_converted_networks()
    rounds_after_every_operation()
    bfloat16_is_rounded_to_the_nearest()
    many_programs()
    behind_a_normalisation()
