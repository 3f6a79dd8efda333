"""The largest activation that a spiking layer can express, per channel, from a few batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from emsyolo.bar import bar

Rule = Literal["percentile", "max", "mean_square"]
BINS = 2048
CANDIDATES = 100  # of the scale, between 0 and the maximum, for `mean_square`


def calibrate(
    run: Callable[[Tensor], object],
    activations: dict[str, nn.Module],
    batches: Callable[[], Iterable[Tensor]],
    *,
    rule: Rule = "percentile",
    percentile: float = 99.9,
    levels: int = 32,
) -> dict[str, Tensor]:
    """The scale (lambda) of each channel of each activation.

    Two passes over the batches: maxima first, then histograms of absolute values (leaky ReLU has negative ones), of
    2,048 bins up to the maximum. If the percentile of a rarely active channel falls into the first bin, which would
    clip all it says, the percentile of its non-zero values is used instead; a channel that is never active gets the
    largest scale of its layer. Ming and Li, 2024, (15); Kim et al., AAAI 2020 (channel-wise). Differs: neither says
    what becomes of rarely active channels, nor of values below 0.

    Args:
        run: the network.
        activations: by name, each called once per run with maps `[T, N, C, H, W]` or `[N, C, H, W]`.
        batches: gives the same batches whenever it is called.
        rule: `percentile` of the values; `max`; or `mean_square`, the scale for which clipping to it and rounding to
            `levels` steps costs the least mean squared error.
        percentile: in (0, 100].
        levels: for `mean_square`.

    Raises:
        ValueError: no batch, an activation that is not finite, an unknown rule, a percentile out of range.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"convert.normalise is {rule!r}; expected one of {', '.join(get_args(Rule))}")
    if not 0 < percentile <= 100:
        raise ValueError(f"convert.percentile is {percentile}; expected a number in (0, 100]")
    maxima: dict[str, Tensor] = {}

    def note_maximum(name: str, values: Tensor) -> None:
        if not torch.isfinite(values).all():
            raise ValueError(
                f"calibration: activation {name} is not finite; look at the weights and the calibration data"
            )
        top = values.abs().amax(dim=1)
        maxima[name] = torch.maximum(maxima[name], top) if name in maxima else top

    _watch(run, activations, batches(), note_maximum)
    if not maxima:
        raise ValueError("calibration: no batch; expected at least one training image")
    if rule == "max":
        return {name: _alive(top) for name, top in maxima.items()}
    # Bin 0 holds zeros, bin k what lies above (k-1) and up to k of the 2,048 parts.
    counts = {
        name: torch.zeros(len(top), 1 + BINS, dtype=torch.int64, device=top.device) for name, top in maxima.items()
    }

    def note_histogram(name: str, values: Tensor) -> None:
        width = maxima[name].clamp(min=1e-12)[:, None] / BINS
        place = (values.abs() / width).ceil().long().clamp(max=BINS)
        counts[name].scatter_add_(1, place, torch.ones_like(place))

    _watch(run, activations, batches(), note_histogram)
    pick = by_percentile(percentile) if rule == "percentile" else least_squares(levels)
    return {name: _alive(maxima[name] * pick(counts[name])) for name in maxima}


def _watch(
    run: Callable[[Tensor], object],
    activations: dict[str, nn.Module],
    batches: Iterable[Tensor],
    note: Callable[[str, Tensor], None],
) -> None:
    """Run the batches, and hand the outputs of each activation over as `[C, values]`."""

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda module, args, output: note(name, output.detach().movedim(-3, 0).flatten(1).float())

    handles = [module.register_forward_hook(hook(name)) for name, module in activations.items()]
    try:
        with torch.inference_mode():
            for batch in bar(batches, "calibrating"):
                run(batch)
    finally:
        for handle in handles:
            handle.remove()


def _alive(scale: Tensor) -> Tensor:
    """The scale with that of silent channels filled in."""
    top = scale.max()
    return torch.where(scale > 0, scale, top if top > 0 else torch.ones_like(top))


def by_percentile(percent: float) -> Callable[[Tensor], Tensor]:
    """From histograms `[C, 1 + BINS]` to scales `[C]` as shares of the maxima: the percentile; see `calibrate`."""

    def reached(counts: Tensor) -> Tensor:
        share = counts.cumsum(dim=1).double() / counts.sum(dim=1, keepdim=True)
        return (share < percent / 100 - 1e-9).sum(dim=1)

    def pick(counts: Tensor) -> Tensor:
        place = reached(counts)
        return torch.where(place > 1, place, 1 + reached(counts[:, 1:])) / BINS

    return pick


def least_squares(levels: int) -> Callable[[Tensor], Tensor]:
    """As `by_percentile`: the scale for which clipping and rounding to `levels` cost the least."""

    def pick(counts: Tensor) -> Tensor:
        middle = (torch.arange(1 + BINS, device=counts.device) - 0.5).clamp(min=0) / BINS
        shares = torch.arange(1, CANDIDATES + 1, device=counts.device) / CANDIDATES
        rounded = ((middle[None] / shares[:, None] * levels).round().clamp(max=levels) / levels) * shares[:, None]
        error = counts.double() @ (rounded - middle[None]).square().double().T  # [C, candidates]
        return shares[error.argmin(dim=1)]

    return pick
