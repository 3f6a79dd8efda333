# mypy: disable-error-code="no-untyped-def"
"""The arithmetic of `lif.cu` in Triton's language, bit by bit; the maps lie in memory as there.

A program takes BLOCK neurons through all steps. Constants are in capitals and part of the compiled code, because Triton
would hand numbers over as float32. bfloat16 comes as its bits, int16, and is rounded here, as on every other back-end.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def number(stored, BFLOAT16: tl.constexpr, REAL: tl.constexpr):
    """What is stored, as a number."""
    return (stored.to(tl.int32) << 16).to(tl.float32, bitcast=True) if BFLOAT16 else stored.to(REAL)


@triton.jit
def kept(place, value, BFLOAT16: tl.constexpr):
    """What memory holds of a number there; of bfloat16 the bits of the nearest, ties to even."""
    if BFLOAT16:
        bits = value.to(tl.int32, bitcast=True)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        found = tl.where(value == value, rounded, 0x7FC0).to(tl.int16)
    else:
        found = value.to(place.dtype.element_ty)
    return found


@triton.jit
def put(place, value, here, BFLOAT16: tl.constexpr):
    """Store a number."""
    tl.store(place, kept(place, value, BFLOAT16), mask=here)


@triton.jit
def binary_step(current, u, decay, threshold, half_width, SOFT: tl.constexpr):
    """Spikes of a step, the potentials that they leave, and their bits."""
    u = current + decay * u
    distance = u - threshold
    fired = distance >= 0
    inside = (distance < half_width) & (distance > -half_width)
    zero = tl.zeros_like(u)
    left = tl.where(fired, distance if SOFT else zero, u)
    return tl.where(fired, zero + 1, zero), left, fired.to(tl.int32) | (inside.to(tl.int32) << 4)


@triton.jit
def integer_step(current, left, decay, scale, levels, rounding):
    """The same of the integer-valued neuron."""
    u = current * scale + decay * left
    zero = tl.zeros_like(u)
    clipped = tl.where(u < zero, zero, tl.where(u > levels, levels, u))
    sent = (clipped + rounding) - rounding
    return sent, u - sent, (sent.to(tl.int32) << 1) | (clipped == u).to(tl.int32)


@triton.jit
def forward(
    x, row, before, after, spikes, bits, neurons, steps,
    DECAY: tl.constexpr, V_THRESHOLD: tl.constexpr, HALF_WIDTH: tl.constexpr, SOFT: tl.constexpr, STARTS: tl.constexpr,
    KEEP: tl.constexpr, LAST: tl.constexpr, BFLOAT16: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Bits are written with KEEP, potentials with LAST, and read with STARTS (else they are 0)."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < neurons
    decay, threshold = tl.full([BLOCK], DECAY, REAL), tl.full([BLOCK], V_THRESHOLD, REAL)
    half_width = tl.full([BLOCK], HALF_WIDTH, REAL)
    u = tl.load(before + i, mask=here, other=0) if STARTS else tl.full([BLOCK], 0, REAL)
    current, out, mark = x + i, spikes + i, bits + i
    for group in range(0, steps, 4):
        marks = tl.full([BLOCK], 0, tl.int32)
        for t in range(group, tl.minimum(group + 4, steps)):
            of = number(tl.load(current, mask=here, other=0), BFLOAT16, REAL)
            sent, u, found = binary_step(of, u, decay, threshold, half_width, SOFT)
            marks |= found << (t - group)
            put(out, sent, here, BFLOAT16)
            current += row
            out += neurons
        if KEEP:
            tl.store(mark, marks.to(tl.uint8), mask=here)
            mark += neurons
    if LAST:
        tl.store(after + i, u, mask=here)


@triton.jit
def backward(
    grad, bits, to, neurons, steps,
    DECAY: tl.constexpr, SLOPE: tl.constexpr, SOFT: tl.constexpr, BFLOAT16: tl.constexpr, REAL: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of the currents from that of the spikes; the reset is detached."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < neurons
    zero = tl.full([BLOCK], 0, REAL)
    decay, slope = tl.full([BLOCK], DECAY, REAL), tl.full([BLOCK], SLOPE, REAL)
    later = zero
    for back in range(steps):
        t = steps - 1 - back
        at = tl.cast(t, tl.int64) * neurons + i
        marks = tl.load(bits + tl.cast(t // 4, tl.int64) * neurons + i, mask=here, other=0).to(tl.int32) >> (t % 4)
        into = number(tl.load(grad + at, mask=here, other=0), BFLOAT16, REAL)
        own = tl.where((marks & 16) != 0, into * slope, zero)
        passed = own + decay * later
        later = passed if SOFT else tl.where((marks & 1) != 0, own, passed)
        put(to + at, later, here, BFLOAT16)


@triton.jit
def unpack(
    bits, spikes, neurons, steps,
    WIDTH: tl.constexpr, PER_BYTE: tl.constexpr, LOWEST: tl.constexpr, LARGEST: tl.constexpr, BFLOAT16: tl.constexpr,
    REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The spikes again: of the WIDTH bits of a step those from LOWEST on, a number up to LARGEST."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < neurons
    out = spikes + i
    for t in range(steps):
        marks = tl.load(bits + tl.cast(t // PER_BYTE, tl.int64) * neurons + i, mask=here, other=0).to(tl.int32)
        sent = (marks >> (t % PER_BYTE * WIDTH + LOWEST)) & LARGEST
        put(out, sent.to(REAL), here, BFLOAT16)
        out += neurons


@triton.jit
def integer_forward(
    x, row, before, after, spikes, bits, neurons, steps,
    DECAY: tl.constexpr, SCALE: tl.constexpr, LEVELS: tl.constexpr, ROUNDING: tl.constexpr, WIDTH: tl.constexpr,
    PER_BYTE: tl.constexpr, STARTS: tl.constexpr, KEEP: tl.constexpr, LAST: tl.constexpr, BFLOAT16: tl.constexpr,
    REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """As `forward`, for the integer-valued neuron."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < neurons
    decay, scale = tl.full([BLOCK], DECAY, REAL), tl.full([BLOCK], SCALE, REAL)
    levels, rounding = tl.full([BLOCK], LEVELS, REAL), tl.full([BLOCK], ROUNDING, REAL)
    left = tl.load(before + i, mask=here, other=0) if STARTS else tl.full([BLOCK], 0, REAL)
    current, out, mark = x + i, spikes + i, bits + i
    for group in range(0, steps, PER_BYTE):
        marks = tl.full([BLOCK], 0, tl.int32)
        for t in range(group, tl.minimum(group + PER_BYTE, steps)):
            of = number(tl.load(current, mask=here, other=0), BFLOAT16, REAL)
            sent, left, found = integer_step(of, left, decay, scale, levels, rounding)
            marks |= found << ((t - group) * WIDTH)
            put(out, sent, here, BFLOAT16)
            current += row
            out += neurons
        if KEEP:
            tl.store(mark, marks.to(tl.uint8), mask=here)
            mark += neurons
    if LAST:
        tl.store(after + i, left, mask=here)


@triton.jit
def integer_backward(
    grad, bits, to, neurons, steps,
    DECAY: tl.constexpr, SCALE: tl.constexpr, WIDTH: tl.constexpr, PER_BYTE: tl.constexpr, BFLOAT16: tl.constexpr,
    REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """As `backward`, for the integer-valued neuron."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < neurons
    zero = tl.full([BLOCK], 0, REAL)
    decay, scale = tl.full([BLOCK], DECAY, REAL), tl.full([BLOCK], SCALE, REAL)
    later = zero
    for back in range(steps):
        t = steps - 1 - back
        at = tl.cast(t, tl.int64) * neurons + i
        marks = tl.load(bits + tl.cast(t // PER_BYTE, tl.int64) * neurons + i, mask=here, other=0).to(tl.int32)
        into = number(tl.load(grad + at, mask=here, other=0), BFLOAT16, REAL)
        own = tl.where(((marks >> (t % PER_BYTE * WIDTH)) & 1) != 0, into, zero)
        later = own + decay * later
        put(to + at, scale * later, here, BFLOAT16)


@triton.jit
def integrate(
    x, row, last, net, spikes, neurons, steps,
    NEGATIVE: tl.constexpr, REPAY: tl.constexpr, NEEDS_SPIKE: tl.constexpr, BFLOAT16: tl.constexpr,
    REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Integrate and fire with soft reset, in units of the threshold; negative spikes as `reference.if_steps` says."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < neurons
    zero = tl.full([BLOCK], 0, REAL)
    one, negative, repay = zero + 1, tl.full([BLOCK], NEGATIVE, REAL), tl.full([BLOCK], REPAY, REAL)
    u, total = tl.load(last + i, mask=here, other=0), tl.load(net + i, mask=here, other=0)
    current, out = x + i, spikes + i
    for _ in range(steps):
        u += tl.load(current, mask=here, other=0)
        fired = u >= one
        back = (u <= negative) & ~fired
        if NEEDS_SPIKE:
            back &= total > zero
        sent = tl.where(fired, one, tl.where(back, -one, zero))
        u = tl.where(fired, u - one, tl.where(back, u + repay, u))
        total += sent
        tl.store(out, sent, mask=here)
        current += row
        out += neurons
    tl.store(last + i, u, mask=here)
    tl.store(net + i, total, mask=here)
