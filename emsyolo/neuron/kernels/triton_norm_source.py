# mypy: disable-error-code="no-untyped-def"
"""The arithmetic of `lif.cu` behind a normalisation, in Triton's language; see `triton_source.py`."""

from __future__ import annotations

import triton
import triton.language as tl

from emsyolo.neuron.kernels.triton_source import binary_step, integer_step, kept, number, put


@triton.jit
def channel_of(i, channels, together, SMALL: tl.constexpr):
    """The channel of neurons of which `together` of a channel lie side by side; in 32 bits a division is fast."""
    if SMALL:
        i = i.to(tl.int32)
    return (i // together) % channels


@triton.jit
def current_of(
    x, add, total, at, here, scale, shift,
    ADDS: tl.constexpr, TOTAL: tl.constexpr, BFLOAT16: tl.constexpr, REAL: tl.constexpr,
):  # fmt: skip
    """Normalised maps, and, with ADDS, what a shortcut adds: rounded each time to what memory holds, here `total`."""
    normalised = number(tl.load(x + at, mask=here, other=0), BFLOAT16, REAL) * scale + shift
    current = number(kept(x + at, normalised, BFLOAT16), BFLOAT16, REAL)
    if ADDS:
        both = current + number(tl.load(add + at, mask=here, other=0), BFLOAT16, REAL)
        current = number(kept(x + at, both, BFLOAT16), BFLOAT16, REAL)
    if TOTAL:
        put(total + at, current, here, BFLOAT16)
    return current


@triton.jit
def forward(
    x, scale, shift, add, total, before, after, spikes, bits, channels, together, neurons, steps,
    DECAY: tl.constexpr, V_THRESHOLD: tl.constexpr, HALF_WIDTH: tl.constexpr, SOFT: tl.constexpr, STARTS: tl.constexpr,
    KEEP: tl.constexpr, LAST: tl.constexpr, ADDS: tl.constexpr, TOTAL: tl.constexpr, SMALL: tl.constexpr,
    BFLOAT16: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """As `triton_source.forward`; `add` is read with ADDS, `total` written with TOTAL."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < neurons
    decay, threshold = tl.full([BLOCK], DECAY, REAL), tl.full([BLOCK], V_THRESHOLD, REAL)
    half_width = tl.full([BLOCK], HALF_WIDTH, REAL)
    channel = channel_of(i, channels, together, SMALL)
    scales, shifts = tl.load(scale + channel), tl.load(shift + channel)
    u = tl.load(before + i, mask=here, other=0) if STARTS else tl.full([BLOCK], 0, REAL)
    at, mark = i, bits + i
    for group in range(0, steps, 4):
        marks = tl.full([BLOCK], 0, tl.int32)
        for t in range(group, tl.minimum(group + 4, steps)):
            current = current_of(x, add, total, at, here, scales, shifts, ADDS, TOTAL, BFLOAT16, REAL)
            sent, u, found = binary_step(current, u, decay, threshold, half_width, SOFT)
            marks |= found << (t - group)
            put(spikes + at, sent, here, BFLOAT16)
            at += neurons
        if KEEP:
            tl.store(mark, marks.to(tl.uint8), mask=here)
            mark += neurons
    if LAST:
        tl.store(after + i, u, mask=here)


@triton.jit
def integer_forward(
    x, scale, shift, add, total, before, after, spikes, bits, channels, together, neurons, steps,
    DECAY: tl.constexpr, SCALE: tl.constexpr, LEVELS: tl.constexpr, ROUNDING: tl.constexpr, WIDTH: tl.constexpr,
    PER_BYTE: tl.constexpr, STARTS: tl.constexpr, KEEP: tl.constexpr, LAST: tl.constexpr, ADDS: tl.constexpr,
    TOTAL: tl.constexpr, SMALL: tl.constexpr, BFLOAT16: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """As `forward`, for the integer-valued neuron."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < neurons
    decay, input_scale = tl.full([BLOCK], DECAY, REAL), tl.full([BLOCK], SCALE, REAL)
    levels, rounding = tl.full([BLOCK], LEVELS, REAL), tl.full([BLOCK], ROUNDING, REAL)
    channel = channel_of(i, channels, together, SMALL)
    scales, shifts = tl.load(scale + channel), tl.load(shift + channel)
    left = tl.load(before + i, mask=here, other=0) if STARTS else tl.full([BLOCK], 0, REAL)
    at, mark = i, bits + i
    for group in range(0, steps, PER_BYTE):
        marks = tl.full([BLOCK], 0, tl.int32)
        for t in range(group, tl.minimum(group + PER_BYTE, steps)):
            current = current_of(x, add, total, at, here, scales, shifts, ADDS, TOTAL, BFLOAT16, REAL)
            sent, left, found = integer_step(current, left, decay, input_scale, levels, rounding)
            marks |= found << ((t - group) * WIDTH)
            put(spikes + at, sent, here, BFLOAT16)
            at += neurons
        if KEEP:
            tl.store(mark, marks.to(tl.uint8), mask=here)
            mark += neurons
    if LAST:
        tl.store(after + i, left, mask=here)


@triton.jit
def gradient_of(
    grad, bits, t, i, here, later, decay, slope, neurons,
    INSIDE: tl.constexpr, STOPS: tl.constexpr, WIDTH: tl.constexpr, PER_BYTE: tl.constexpr, BFLOAT16: tl.constexpr,
    REAL: tl.constexpr,
):  # fmt: skip
    """The gradient of the currents of step t from that of the next one, `later`; see `layout.Chain`."""
    into = number(tl.load(grad + tl.cast(t, tl.int64) * neurons + i, mask=here, other=0), BFLOAT16, REAL)
    marks = tl.load(bits + tl.cast(t // PER_BYTE, tl.int64) * neurons + i, mask=here, other=0).to(tl.int32)
    marks = marks >> (t % PER_BYTE * WIDTH)
    own = tl.where((marks & INSIDE) != 0, into * slope, tl.zeros_like(later))
    passed = own + decay * later
    return tl.where((marks & STOPS) != 0, own, passed)


@triton.jit
def sums(
    grad, bits, x, more, joined, mean, to, channels, together, neurons, steps,
    DECAY: tl.constexpr, SLOPE: tl.constexpr, INSIDE: tl.constexpr, STOPS: tl.constexpr, WIDTH: tl.constexpr,
    PER_BYTE: tl.constexpr, MORE: tl.constexpr, JOINS: tl.constexpr, SIDE: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, BFLOAT16: tl.constexpr, REAL: tl.constexpr,
):  # fmt: skip
    """Per channel and part, of the gradients, and of them times x's distance from the mean; see `sum_columns` there.

    A program takes ROWS x COLUMNS neurons at once: COLUMNS channels that lie side by side (SIDE), else so many neurons
    of one channel.
    """
    part, parts, column = tl.program_id(0), tl.num_programs(0), tl.program_id(1)
    row = tl.arange(0, ROWS).to(tl.int64)[:, None]
    place = tl.arange(0, COLUMNS).to(tl.int64)[None, :]
    outer = neurons // channels // together
    decay, slope = tl.full([ROWS, COLUMNS], DECAY, REAL), tl.full([ROWS, COLUMNS], SLOPE, REAL)
    total, product = tl.full([ROWS, COLUMNS], 0, REAL), tl.full([ROWS, COLUMNS], 0, REAL)
    if SIDE:
        chunks = 1
        channel = column * COLUMNS + tl.arange(0, COLUMNS)
        means = tl.load(mean + channel, mask=channel < channels, other=0)[None, :]
    else:
        chunks = tl.cdiv(together, COLUMNS)
        channel = column
        means = tl.load(mean + channel)
    for item in range(part, tl.cdiv(outer, ROWS) * chunks, parts):
        run = tl.cast(item // chunks, tl.int64) * ROWS + row
        within = tl.cast(column if SIDE else item % chunks, tl.int64) * COLUMNS + place
        here = (run < outer) & (within < (channels if SIDE else together))
        i = run * channels + within if SIDE else (run * channels + channel) * together + within
        later = tl.full([ROWS, COLUMNS], 0, REAL)
        for back in range(steps):
            t = steps - 1 - back
            later = gradient_of(
                grad, bits, t, i, here, later, decay, slope, neurons, INSIDE, STOPS, WIDTH, PER_BYTE, BFLOAT16, REAL
            )
            found, at = later, tl.cast(t, tl.int64) * neurons + i
            if MORE:
                found += number(tl.load(more + at, mask=here, other=0), BFLOAT16, REAL)
            if JOINS:
                found = number(kept(joined + at, found, BFLOAT16), BFLOAT16, REAL)
                put(joined + at, found, here, BFLOAT16)
            total += found
            product += found * (number(tl.load(x + at, mask=here, other=0), BFLOAT16, REAL) - means)
    to += tl.cast(part, tl.int64) * 2 * channels
    if SIDE:
        tl.store(to + channel, tl.sum(total, 0), mask=channel < channels)
        tl.store(to + channels + channel, tl.sum(product, 0), mask=channel < channels)
    else:
        tl.store(to + channel, tl.sum(tl.sum(total, 1), 0))
        tl.store(to + channels + channel, tl.sum(tl.sum(product, 1), 0))


@triton.jit
def finish(
    sums, mean, var, weight, factors, channels, parts, count,
    EPS: tl.constexpr, BATCH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradients of weight and bias, in the last rows of `factors`, and what `through` needs, in the first four."""
    c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = c < channels
    total, product = tl.full([BLOCK], 0, tl.float64), tl.full([BLOCK], 0, tl.float64)
    for part in range(parts):
        at = sums + tl.cast(part, tl.int64) * 2 * channels + c
        total += tl.load(at, mask=here, other=0).to(tl.float64)
        product += tl.load(at + channels, mask=here, other=0).to(tl.float64)
    eps = tl.full([BLOCK], EPS, tl.float64)
    inverse = 1 / tl.sqrt(tl.load(var + c, mask=here, other=1).to(tl.float64) + eps)
    to = factors + c
    tl.store(to, tl.load(weight + c, mask=here, other=0).to(tl.float64) * inverse, mask=here)
    tl.store(to + 4 * channels, product * inverse, mask=here)
    tl.store(to + 5 * channels, total, mask=here)
    if BATCH:
        number_of = tl.cast(count, tl.float64)
        tl.store(to + channels, total / number_of, mask=here)
        tl.store(to + 2 * channels, tl.load(mean + c, mask=here, other=0), mask=here)
        tl.store(to + 3 * channels, product * inverse * inverse / number_of, mask=here)


@triton.jit
def through(
    grad, bits, x, factors, to, channels, together, neurons, steps,
    DECAY: tl.constexpr, SLOPE: tl.constexpr, INSIDE: tl.constexpr, STOPS: tl.constexpr, WIDTH: tl.constexpr,
    PER_BYTE: tl.constexpr, JOINED: tl.constexpr, BATCH: tl.constexpr, SMALL: tl.constexpr, BFLOAT16: tl.constexpr,
    REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of x; with JOINED `grad` is that of the currents already."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < neurons
    decay, slope = tl.full([BLOCK], DECAY, REAL), tl.full([BLOCK], SLOPE, REAL)
    own = factors + channel_of(i, channels, together, SMALL)
    later = tl.full([BLOCK], 0, REAL)
    scales = tl.load(own)
    if BATCH:
        offsets, means, slopes = tl.load(own + channels), tl.load(own + 2 * channels), tl.load(own + 3 * channels)
    for back in range(steps):
        t = steps - 1 - back
        at = tl.cast(t, tl.int64) * neurons + i
        if JOINED:
            later = number(tl.load(grad + at, mask=here, other=0), BFLOAT16, REAL)
        else:
            later = gradient_of(
                grad, bits, t, i, here, later, decay, slope, neurons, INSIDE, STOPS, WIDTH, PER_BYTE, BFLOAT16, REAL
            )
        found = later
        if BATCH:
            distance = number(tl.load(x + at, mask=here, other=0), BFLOAT16, REAL) - means
            found = (later - offsets) - distance * slopes
        put(to + at, scales * found, here, BFLOAT16)
