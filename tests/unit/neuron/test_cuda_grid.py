"""The kernels for a GPU without one: whole grids on a CPU, through the real launch code, and mutants to be caught.

Numbers are multiples of small powers of two, so that every sum is exact and all comparisons are for equality.
"""

from __future__ import annotations

import math
import mmap
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from grid import Grid, emulated
from torch import Tensor

from emsyolo.neuron.kernels import compiled, cuda, integer, launch, normalised, normalised_backward, reference
from emsyolo.neuron.kernels.layout import (
    Chain,
    binary_chain,
    bytes_for,
    dense_rows,
    integer_chain,
    like_rows,
    potential_dtype,
    rows_for,
)

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
RULES = [(-math.inf, 0.0, False), (0.0, 1.0, True), (-10.0, 10.0, False), (-0.25, 1.0, True)]
SHAPES = [
    (1, 1, 1, 1), (1, 1, 1, 7), (1, 3, 5, 7), (2, 3, 4, 6), (1, 8, 4, 8), (2, 4, 16, 20), (1, 16, 33, 31), (1, 0, 4, 4),
    (1, 1, 257, 4), (1, 1, 64, 65),
]  # fmt: skip
STEPS = (1, 2, 3, 4, 5, 7, 8, 9, 10)


def channels_last(x: Tensor) -> Tensor:
    return x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2])


def moved(x: Tensor, by: int) -> Tensor:
    """Dense, so many elements behind the start of its memory."""
    return torch.empty(x.numel() + by, dtype=x.dtype)[by:].view(x.shape).copy_(x)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "dense": lambda x: x,
    "channels last": channels_last,
    "every second column": lambda x: x[..., ::2],
    "T and N swapped": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "off by one": lambda x: moved(x, 1),
    "off by 16 bytes": lambda x: moved(x, 16 // x.element_size()),
    "still image": lambda x: x[:1].expand(x.shape),
    "H and W swapped": lambda x: x.transpose(-1, -2),
    "some steps": lambda x: torch.cat((x, x))[1 : 1 + len(x)],
    "some channels": lambda x: torch.cat((x, x), dim=2)[:, :, : x.shape[2]],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of what is compiled."""
    return tmp_path_factory.mktemp("grid")


@pytest.fixture
def grid(folder: Path) -> Iterator[Grid]:
    with emulated(folder) as made:
        yield made


def eighths(shape: Any, dtype: torch.dtype, divisor: int = 8) -> Tensor:
    return (torch.randn(shape, dtype=torch.float64) * 8).round().div(divisor).to(dtype)


def some_map(chance: random.Random, dtype: torch.dtype, steps: int, divisor: int = 8) -> tuple[Tensor, Tensor | None]:
    """Currents in some layout, and potentials or none."""
    made = eighths((steps, *chance.choice(SHAPES)), dtype, divisor)
    x = chance.choice(list(LAYOUTS.values()))(made)
    real = potential_dtype(dtype)
    start = chance.choice((None, real, real, torch.float32))
    return x, None if start is None else moved(
        eighths(x.shape[1:], start).abs(), chance.choice((0, 1, 16 // start.itemsize))
    )


def upstream_of(chance: random.Random, x: Tensor) -> Tensor:
    """A gradient, whose axes lie in another order half the time."""
    made = eighths(x.shape, x.dtype)
    return made if chance.random() < 0.5 else made.transpose(-1, -2).contiguous().transpose(-1, -2)


def same(found: tuple[Tensor, ...], *wanted: Tensor) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
        assert one.numel() < 2 or one.stride() == other.stride()


def lif_case(chance: random.Random, dtype: torch.dtype) -> None:
    steps = chance.choice(STEPS)
    x, v = some_map(chance, dtype, steps)
    soft, width = chance.random() < 0.5, chance.choice((0.5, 1.0))
    constants = {"decay": chance.choice((0.0, 0.25)), "surrogate_width": width, "soft_reset": soft}
    given = {**constants, "v_threshold": chance.choice((0.5, 1.0))}
    found = cuda.forward(x, v, **given, keep=True)
    numbas = compiled.forward(x, v, **given, keep=True)
    same(found, *numbas)
    spikes, last = reference.lif_steps(x, v, **given)
    assert torch.equal(found[0], spikes)
    assert torch.equal(found[2], last)
    assert torch.equal(cuda.unpack(found[1], steps, dtype), spikes)
    upstream = upstream_of(chance, x)
    gradient = cuda.backward(upstream, found[1], **constants)
    assert torch.equal(gradient, compiled.backward(upstream, numbas[1], **constants))
    if dtype.itemsize > 2:  # the reference sums in that type
        leaf = x.detach().clone().requires_grad_()
        (wanted,) = torch.autograd.grad(reference.lif_steps(leaf, v, **given)[0], leaf, upstream)
        assert torch.equal(gradient, wanted)
    # Without what nobody reads:
    spikes, none, nothing = cuda.forward(x, v, **given, keep=False, last=False)
    assert torch.equal(spikes, found[0])
    assert none.shape == (0, *x.shape[1:])
    assert nothing.shape == (0,)


def integer_case(chance: random.Random, dtype: torch.dtype) -> None:
    steps, levels = chance.choice((1, 2, 3, 4, 5, 7)), chance.choice((1, 2, 4, 8, 127))
    x, v = some_map(chance, dtype, steps, chance.choice((1, 4)))
    constants = {"decay": chance.choice((0.0, 0.25)), "input_scale": chance.choice((0.5, 1.0)), "levels": levels}
    found = cuda.integer_forward(x, v, **constants, keep=True)
    numbas = integer.forward(x, v, **constants, keep=True)
    same(found, *numbas)
    spikes, last = reference.ilif_steps(x, v, **constants)
    assert torch.equal(found[0], spikes)
    assert torch.equal(found[2], last)
    assert torch.equal(cuda.integer_unpack(found[1], steps, levels, dtype), spikes)
    upstream = upstream_of(chance, x)
    gradient = cuda.integer_backward(upstream, found[1], **constants)
    assert torch.equal(gradient, integer.backward(upstream, numbas[1], **constants))
    spikes, _, nothing = cuda.integer_forward(x, v, **constants, keep=False, last=False)
    assert torch.equal(spikes, found[0])
    assert nothing.shape == (0,)


def integrate_case(chance: random.Random, dtype: torch.dtype) -> None:
    x, _ = some_map(chance, dtype, chance.choice((1, 4, 5, 20)), 4)
    v, net = eighths(x.shape[1:], dtype).abs(), eighths(x.shape[1:], dtype, 4).round()
    rule = dict(zip(("negative", "repay", "needs_spike"), chance.choice(RULES), strict=True))
    for found, wanted in zip(cuda.integrate(x, v, net, **rule), reference.if_steps(x, v, net, **rule), strict=True):
        assert torch.equal(found, wanted)


def norm_case(chance: random.Random, dtype: torch.dtype, kernels: Any = cuda) -> None:
    """Both neurons behind a normalisation and a shortcut, whose product and sums are rounded: equal all the same."""
    steps, levels = chance.choice((1, 2, 3, 4, 5)), chance.choice((1, 4))
    x, v = some_map(chance, dtype, steps)
    scale, shift = torch.randn(2, x.shape[2], dtype=potential_dtype(dtype))
    y, add = reference.normalised(x, scale, shift), None
    if chance.random() < 0.6:
        add = upstream_of(chance, x)
        y = y + add
    assert y.dtype == dtype
    numbers, total = (scale, shift, add, v), chance.random() < 0.6
    given: dict[str, Any] = {"decay": 0.25, "v_threshold": 0.5, "surrogate_width": 1.0, "soft_reset": False}
    found = kernels.norm_forward(x, *numbers, **given, keep=True, last=True, total=total)
    spikes, last = reference.lif_steps(y, v, **given)
    assert torch.equal(found[0], spikes)
    assert torch.equal(found[1], compiled.forward(y, v, **given, keep=True)[1])
    assert torch.equal(found[2], last)
    constants: dict[str, Any] = {"decay": 0.25, "input_scale": 0.5, "levels": levels}
    whole = kernels.norm_integer_forward(x, *numbers, **constants, keep=True, last=True, total=total)
    spikes, last = reference.ilif_steps(y, v, **constants)
    assert torch.equal(whole[0], spikes)
    assert torch.equal(whole[1], integer.forward(y, v, **constants, keep=True)[1])
    assert torch.equal(whole[2], last)
    for currents in (found[3], whole[3]):
        assert torch.equal(currents, y if total else y[:0])
    if dtype != torch.float16:
        same(found, *normalised.lif_forward(x, *numbers, **given, keep=True, last=True, total=total))
        same(whole, *normalised.integer_forward(x, *numbers, **constants, keep=True, last=True, total=total))
    assert torch.equal(kernels.norm_forward(x, *numbers, **given, keep=False, last=False, total=False)[0], found[0])


# Among them three channels that, side by side, leave an odd number of threads per column, all with items of their own.
BACK_SHAPES = [*SHAPES[1:7], (1, 301, 2, 2), (1, 1, 64, 65), (2, 3, 9, 11)]
MANY_CHANNELS = (2, 257 * 8, 1, 1)  # more than a block takes side by side, in every dtype


def back_case(
    chance: random.Random,
    dtype: torch.dtype,
    kernels: Any = cuda,
    shapes: Sequence[tuple[int, ...]] = (*BACK_SHAPES, MANY_CHANNELS),
) -> None:
    """The way back through both neurons, a normalisation and a shortcut: what the CPU finds in float64."""
    steps = chance.choice((1, 2, 3, 5))
    layout = channels_last if chance.random() < 0.4 else chance.choice(list(LAYOUTS.values()))
    x = layout(eighths((steps, *chance.choice(shapes)), dtype))
    real, channels = potential_dtype(dtype), x.shape[2]
    mean, weight = torch.randn(2, channels, dtype=real)
    var, upstream = torch.rand(channels, dtype=real) + 0.5, upstream_of(chance, x)
    if chance.random() < 0.5:
        chain, rows = binary_chain(0.25, 0.5, soft_reset=chance.random() < 0.5), bytes_for(steps)
    else:
        levels = chance.choice((1, 4))
        chain, rows = integer_chain(0.25, 0.5, levels), rows_for(steps, levels)
    bits = like_rows(dense_rows(x), rows, torch.uint8).random_(256)
    wanted = {"batch": chance.random() < 0.7, "to_x": True, "to_norm": chance.random() < 0.9}
    joins = chance.random() < 0.6
    more = upstream_of(chance, x) if joins and chance.random() < 0.8 else None
    found = kernels.norm_backward(upstream, bits, x, mean, var, weight, 1e-5, more, chain, **wanted, joins=joins)
    numbers = [one.double() for one in (mean, var, weight)]
    maps, others = (upstream.double(), bits, x.double()), (None if more is None else more.double(), chain)
    exact = normalised_backward.norm_backward(*maps, *numbers, 1e-5, *others, **wanted, joins=joins)
    assert found[0].stride() == bits.stride()
    if joins:  # all else comes from what is kept of it
        assert found[1].stride() == bits.stride()
        near(found[1], exact[1])
        own = like_rows(bits, steps, torch.uint8).fill_(1), x.double()
        alone = Chain(0.0, 1.0, 1, 1, 0, 1)
        exact = normalised_backward.norm_backward(
            found[1].double(), *own, *numbers, 1e-5, None, alone, **wanted, joins=False
        )
    near(found[0], exact[0])
    if wanted["batch"] or wanted["to_norm"]:
        near(found[2], exact[2])
        near(found[3], exact[3])


def near(found: Tensor, exact: Tensor) -> None:
    """The same but for the rounding of its dtype."""
    error = {8: 1e-11, 4: 1e-5, 2: 4e-3}[found.dtype.itemsize]
    assert (found.double() - exact).norm() <= error * max(2, exact.norm())


CASES: dict[str, Callable[[random.Random, torch.dtype], None]] = {
    "lif": lif_case,
    "ilif": integer_case,
    "if": integrate_case,
    "norm": norm_case,
    "back": back_case,
}
NUMBER = {"lif": 80, "ilif": 60, "if": 60, "norm": 60, "back": 40}


def run_cases(kind: str, dtype: torch.dtype) -> None:
    chance = random.Random(f"{kind} {dtype}")
    torch.manual_seed(0)
    for _ in range(NUMBER[kind]):
        CASES[kind](chance, dtype)


def in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The larger maps take more than one turn of the grid."""
    monkeypatch.setattr(launch, "MAX_BLOCKS", 2)
    monkeypatch.setattr(cuda, "SUM_BLOCKS", 6)
    monkeypatch.setattr(cuda, "SUM_ITEMS", 1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", CASES)
def test_a_grid_gives_what_the_reference_gives(
    grid: Grid, monkeypatch: pytest.MonkeyPatch, kind: str, dtype: torch.dtype
) -> None:
    if kind == "if" and dtype.itemsize == 2:
        pytest.skip("integrate and fire has no kernel in half precision")
    run_cases(kind, dtype)
    in_turns(monkeypatch)
    run_cases(kind, dtype)
    assert {wide for _, _, wide in grid.launches} == {False, True}


def lazily(x: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    """As `layout.like_rows` for dense maps, in a file with holes: what nobody touches takes no memory."""
    size = rows * x[0].numel() * dtype.itemsize
    if size == 0:
        return torch.empty(rows, *x.shape[1:], dtype=dtype)
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        return torch.frombuffer(mmap.mmap(file.fileno(), size), dtype=dtype).view(rows, *x.shape[1:])


def check_large(
    grid: Grid, monkeypatch: pytest.MonkeyPatch, steps: int, neurons: int, *, levels: int | None = None
) -> None:
    """Maps of so many elements; of the grid only the first, a middle and the last block are run."""
    monkeypatch.setattr(cuda, "like_rows", lazily)
    dtype = torch.bfloat16
    per_block = launch.THREADS * (8 if neurons % 8 == 0 else 1)
    number = -(-neurons // per_block)
    picked = sorted({0, number // 2, number - 1})
    monkeypatch.setattr(grid, "blocks", lambda blocks: picked)
    spans = [slice(block * per_block, min((block + 1) * per_block, neurons)) for block in picked]
    x = lazily(torch.empty(1, neurons, device="meta"), steps, dtype)
    for span in spans:
        x[:, span] = eighths((steps, span.stop - span.start), dtype)

    def of(y: Tensor) -> Tensor:
        return torch.cat([y[:, span] for span in spans], dim=1)

    small = of(x)
    if levels is None:
        constants: dict[str, Any] = {"decay": 0.25, "surrogate_width": 1.0, "soft_reset": False}
        forward, backward, more = cuda.forward, cuda.backward, {"v_threshold": 0.5}
        wanted = compiled.forward(small, None, **constants, **more, keep=True)
        back = compiled.backward(wanted[0], wanted[1], **constants)
    else:
        constants, more = {"decay": 0.25, "input_scale": 1.0, "levels": levels}, {}
        forward, backward = cuda.integer_forward, cuda.integer_backward
        wanted = integer.forward(small, None, **constants, keep=True)
        back = integer.backward(wanted[0], wanted[1], **constants)
    spikes, bits, _ = forward(x, None, **constants, **more, keep=True, last=False)
    assert torch.equal(of(spikes), wanted[0])
    assert torch.equal(of(bits), wanted[1])
    del x
    assert torch.equal(of(backward(spikes, bits, **constants)), back)
    if levels is None:
        assert torch.equal(of(cuda.unpack(bits, steps, dtype)), wanted[0])
    else:
        assert torch.equal(of(cuda.integer_unpack(bits, steps, levels, dtype)), wanted[0])


LARGE = [
    pytest.param(1, 2**31 + 16, None, id="one step"),
    pytest.param(3, 2**30 + 1, None, id="narrow"),
    pytest.param(5, 2**30 + 8, None, id="more than 2^32"),
    pytest.param(17, 2**30 + 8, None, id="bits from 2^32 on"),
    pytest.param(5, 2**30 + 8, 8, id="integers"),
]


@pytest.mark.parametrize(("steps", "neurons", "levels"), LARGE)
def test_more_elements_than_32_bits_count(
    grid: Grid, monkeypatch: pytest.MonkeyPatch, steps: int, neurons: int, levels: int | None
) -> None:
    check_large(grid, monkeypatch, steps, neurons, levels=levels)


def test_channels_of_elements_that_32_bits_do_not_count(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "like_rows", lazily)
    size = (2**32 // 3 // 8 + 2) * 8  # of a channel, of three
    x = lazily(torch.empty(1, 1, 3, size, device="meta"), 1, torch.bfloat16)
    span = slice(3 * size // 2048 * 2048, 3 * size)  # of the last block
    assert span.start <= 2**32 < span.stop
    monkeypatch.setattr(grid, "blocks", lambda blocks: [blocks - 1])
    x.view(-1)[span] = eighths(span.stop - span.start, x.dtype)
    scale, shift = torch.tensor([[1.0, 2.0, -4.0], [0.0, 0.25, 0.125]])
    given: dict[str, Any] = {"decay": 0.25, "v_threshold": 0.5, "surrogate_width": 1.0, "soft_reset": False}
    spikes = cuda.norm_forward(x, scale, shift, None, None, **given, keep=False, last=False, total=False)[0]
    currents = x.view(-1)[span] * -4 + 0.125  # all of them are the third channel's
    assert torch.equal(spikes.view(-1)[span], (currents >= 0.5).to(x.dtype))


def test_sums_of_more_elements_than_32_bits_count(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "like_rows", lazily)
    monkeypatch.setattr(grid, "blocks", lambda blocks: [blocks - 1])  # the last share of the last channel's
    run, size = cuda.run, (2**32 // 3 // 8 + 2**17) * 8  # of a channel, of three

    def run_from_nothing(name: str, *given: Any) -> None:
        if name == "norm_sum":
            given[11].zero_()
        run(name, *given)

    monkeypatch.setattr(cuda, "run", run_from_nothing)
    x = lazily(torch.empty(1, 1, 3, size, device="meta"), 1, torch.bfloat16)
    bits = lazily(x, 1, torch.uint8)
    parts, _, _ = cuda._sum_grid(3 * size, 3, size, 8)
    # What the block does, by its first item.
    turns = range((parts - 1) * launch.THREADS, size // 8, parts * launch.THREADS)
    first = 2 * size + 8 * turns[-1]
    assert first > 2**32
    count = min(8 * launch.THREADS, 3 * size - first)
    x.view(-1)[first : first + count], bits.view(-1)[first : first + count] = 3, 16
    chain, one = binary_chain(0.25, 1.0, soft_reset=False), torch.ones(3)
    given: dict[str, Any] = {"batch": False, "joins": False, "to_x": False, "to_norm": True}
    _, _, to_weight, to_bias = cuda.norm_backward(x, bits, x, one, one, one, 0.0, None, chain, **given)
    assert to_bias.tolist() == [0, 0, 3 * count]
    assert to_weight.tolist() == [0, 0, 6 * count]


# What is changed in the kernels' text, and the cases that must see it.
MUTANTS = [
    ("if (fired) marks.add(k, 1u << place)", "if (fired) marks.add(k, 1u << place % 3)", "lif"),
    ("words[k / 4] |= bits << 8 * (k % 4)", "words[k / 4] |= bits << 8 * (k % 3)", "lif"),
    ("from.words[k / 2] & 0xFFFF0000", "from.words[k / 2]", "lif"),
    ("(long long)gridDim.x * blockDim.x * (wide", "2LL * gridDim.x * blockDim.x * (wide", "lif"),
    ("currents.of(get<WIDTH>(x + t * row + i), t, i);", "currents.of(get<WIDTH>(x + t * neurons + i), t, i);", "lif"),
    ("distance >= 0", "distance > 0", "lif"),
    ("fabs(distance) < half_width", "fabs(distance) <= half_width", "lif"),
    ("u.at[k] = soft ? distance : 0", "u.at[k] = 0", "lif"),
    ("own : own + decay * later", "own : own + 0 * later", "lif"),
    ("stops = soft ? 0 : 1", "stops = 1", "lif"),
    ("step(back ? COUNT - 1 - place : place)", "step(back ? COUNT - place : place)", "lif"),
    ("step(back ? count - 1 - place : place)", "step(place)", "lif"),
    ("0x7FFF + ((as.bits >> 16) & 1)", "0x8000", "lif"),
    ("before ? get<WIDTH>(before + i) : u", "u", "lif"),
    ("if (after) put(after + i, u)", "if (after) put(after + i, begin<WIDTH>(before, i))", "lif"),
    ("i < neurons; i +=", "i < neurons - 1; i +=", "lif"),
    ("marks.has(k, 1u << place) ? ONE", "marks.has(k, 1u << place % 3) ? ONE", "lif"),
    ("sizeof(T) * WIDTH < 16 ? sizeof(T) * WIDTH : 16", "sizeof(T) * WIDTH", "lif"),
    ("u > levels ? levels", "u >= levels ? levels - 1", "ilif"),
    ("(clipped == u ? 1u : 0u)", "(clipped < u ? 0u : 1u)", "ilif"),
    ("as = {u + SHIFT}", "as = {(real)(int)(u + (real)0.5) + SHIFT}", "ilif"),
    ("(whole & largest) << 1", "whole << 1", "ilif"),
    ("as.words[0] |= whole", "as.words[0] |= whole & 3", "ilif"),
    ("r.at[k] = u - sent", "r.at[k] = clipped - sent", "ilif"),
    ("(8 * (k % 4) + from) & largest", "(8 * (k % 4) + from) & (largest & 254)", "ilif"),
    ("place * width + 1, largest", "place * width, largest", "ilif"),
    ("result.at[k] = scale * later.at[k]", "result.at[k] = later.at[k]", "ilif"),
    ("if (++place == together)", "if (++place > together)", "norm"),
    ("channel + 1 == channels ? 0 : channel + 1", "channel + 1", "norm"),
    ("i - run * together", "i - run", "norm"),
    ("(unsigned)run % (unsigned)channels", "0", "norm"),
    ("place + WIDTH <= together", "place + WIDTH <= together + 1", "norm"),
    ("together == 1 && channel + WIDTH <= channels", "together == 1", "norm"),
    ("use(k, channel + k)", "use(k, channel)", "norm"),
    ("return load_all(kept);", "return add ? load_all(kept) : current;", "norm"),
    ("current.at[k] * scale[k] + shift[k]", "current.at[k] * scale[k]", "norm"),
    ("            current = load_all(kept);\n", "", "norm"),
    ("loaded<WIDTH>(add + t * neurons + i)", "loaded<WIDTH>(add + i)", "norm"),
    ("if (total) put(total + t * neurons + i, kept)", "if (total && !t) put(total + i, kept)", "norm"),
    ("more + t * neurons + i", "more + i", "back"),
    ("found.at[k] += other.at[k]", "found.at[k] += 0 * other.at[k]", "back"),
    ("put(joined + t * neurons + i, both)", "put(joined + i, both)", "back"),
    ("found = load_all(both)", "found = later", "back"),
    ("word = ~0u", "word = 0", "back"),
    ("marks.has(k, chain.stops << from) ? own : own +", "own +", "back"),
    ("from = place * chain.width", "from = place", "back"),
    ("in.at[k] * chain.slope", "in.at[k]", "back"),
    ("found.at[k] * (of.at[k] - means[k])", "found.at[k] * of.at[k]", "back"),
    ("int left = rows; left > 1;", "int left = rows; left > 2;", "back"),
    ("__syncthreads();\n        left = half", "left = half", "back"),
    ("if (row + half < left)", "if (row < half)", "back"),
    ("item < items; item += step", "item < items; item += 2 * step", "back"),
    ("part * rows + row", "part * rows", "back"),
    ("(item - plane * per) * WIDTH", "(item - plane * per)", "back"),
    ("side ? column * WIDTH : column", "column", "back"),
    ("total[0] += total[k]", "total[0] += total[0]", "back"),
    ("part = blockIdx.x / across", "part = 0", "back"),
    ("part < parts; ++part", "part < 1; ++part", "back"),
    ("later.at[k] - offset[k]", "later.at[k]", "back"),
    ("(of.at[k] - mean[k]) * slope[k]", "of.at[k] * slope[k]", "back"),
    ("if (!batch) return", "if (batch) return", "back"),
    ("u.at[k] <= negative", "u.at[k] < negative", "if"),
    ("sent.at[k] > 0", "sent.at[k] >= 0", "if"),
    ("bits + group / 4 * neurons + i, marks", "bits + (unsigned)(group / 4 * neurons) + i, marks", "large"),
    ("put(spikes + t * neurons + i, out);\n        });\n        if (bits) keep(bits + group / 4",
     "put(spikes + (unsigned)(t * neurons) + i, out);\n        });\n        if (bits) keep(bits + group / 4", "large"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "instead", "kind"), MUTANTS, ids=[f"{k}: {m}"[:60] for _, m, k in MUTANTS])
def test_a_mutant_is_caught(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, instead: str, kind: str) -> None:
    source = launch.source()
    assert text in source
    with emulated(folder, source.replace(text, instead)) as grid:
        if kind == "large":
            with pytest.raises(AssertionError):
                check_large(grid, monkeypatch, 17, 2**30 + 8)
            return
        in_turns(monkeypatch)
        with pytest.raises(AssertionError):
            run_cases(kind, torch.float32 if kind == "if" else torch.bfloat16)
