"""Activations as a network of neurons that accumulate sends them, and what calibration learns on such a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from emsyolo.bar import bar
from emsyolo.neuron.accumulate import ROUNDING

SCALES_RATE, SHIFTS_RATE, WEIGHTS_RATE = 3e-3, 3e-3, 3e-5  # of Adam; of scales by their logarithm, of shifts in scales


class Rounded(nn.Module):
    """A ReLU or leaky ReLU, shifted, clipped to its scale and rounded to levels: what `AccumulateFire` sends.

    Gradients go through the rounding; towards the scale they are those of LSQ (Esser et al., ICLR 2020).

    Args:
        scale: what `levels` levels stand for, `[C]`.
        start: in levels, as the neuron's.
        levels: L.
        slope: of a leaky ReLU; 0 of ReLU.
        top: share of the levels at which it is clipped.
    """

    def __init__(self, scale: Tensor, start: float, levels: int, slope: float, top: float = 1.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(scale.detach().float().log())
        self.shift = nn.Parameter(torch.zeros_like(self.log_scale))  # in scales
        self.start = start
        self.levels = levels
        self.slope = slope
        self.most = round(top * levels)

    @property
    def scale(self) -> Tensor:
        """What all levels stand for, `[C]`."""
        return self.log_scale.exp()

    @property
    def bias(self) -> Tensor:
        """The current that is added, `[C]`."""
        return self.shift * self.scale

    def forward(self, z: Tensor) -> Tensor:
        """The activations of currents, of z's shape."""
        scale = self.scale.view(-1, 1, 1)
        u = (z / scale + self.shift.view(-1, 1, 1)) * self.levels
        if self.slope:
            u = torch.where(u > 0, u, self.slope * u)
        steps = (u + self.start).clamp(-self.most if self.slope else 0, self.most)
        whole = steps + ((steps + ROUNDING).floor() - steps).detach()
        return whole * scale / self.levels


def correct_biases(
    run: Callable[[Tensor], object], nodes: Mapping[str, Rounded], truth: Mapping[str, Tensor], frames: Sequence[Tensor]
) -> None:
    """Add to each channel's current what its activation lacks in the mean, layer by layer, each on what it is fed then.

    Li et al., "A Free Lunch From ANN", ICML 2021.

    Args:
        run: the network of the nodes.
        nodes: in the order in which they run.
        truth: the means of the activations that they stand for, `[C]`.
        frames: batches, on which those means were taken.
    """
    with torch.no_grad():
        for name, node in bar(nodes.items(), "correcting biases"):
            lack = truth[name] - channel_means(run, {name: node}, frames)[name]
            node.shift.add_(lack / node.scale)


def channel_means(
    run: Callable[[Tensor], object], modules: Mapping[str, nn.Module], frames: Iterable[Tensor]
) -> dict[str, Tensor]:
    """The mean output of modules over batches, by channel, `[C]`, in the order in which they run."""
    sums: dict[str, list[Tensor]] = {}

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def note(module: nn.Module, args: object, output: Tensor) -> None:
            sums.setdefault(name, []).append(output.detach().movedim(-3, 0).flatten(1).mean(dim=1))

        return note

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        with torch.no_grad():
            for batch in frames:
                run(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.stack(some).mean(dim=0) for name, some in sums.items()}


def tune(
    network: nn.Module,
    run: Callable[[Tensor], Sequence[Tensor]],
    nodes: Mapping[str, Rounded],
    frames: Sequence[Tensor],
    wanted: Sequence[Sequence[Tensor]],
    *,
    epochs: int,
    weights: bool = False,
) -> tuple[float, float]:
    """Train the scales and biases of the nodes to imitate the maps of the network that they stand in, without labels.

    By Adam, at a rate that falls to 0; what was there before stays if it is no better.

    Args:
        network: in evaluation mode.
        run: it, a batch to its maps.
        nodes: of which scale and shift are trained.
        frames: batches.
        wanted: the maps for each of them.
        epochs: passes over the batches.
        weights: train the network's other parameters, too.

    Returns:
        The error before and after: squared differences as shares of the maps' variances.
    """
    scales, shifts = [node.log_scale for node in nodes.values()], [node.shift for node in nodes.values()]
    own = {id(parameter) for parameter in (*scales, *shifts)}
    others = [parameter for parameter in network.parameters() if id(parameter) not in own] if weights else []
    groups = [(scales, SCALES_RATE), (shifts, SHIFTS_RATE), (others, WEIGHTS_RATE)]
    trained = [parameter for some, _ in groups for parameter in some]
    asked = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(requires_grad=False)
    for parameter in trained:
        parameter.requires_grad_()
    optimizer = torch.optim.Adam([{"params": some, "lr": rate} for some, rate in groups if some])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(frames))
    spread = [level.var(correction=0).clamp(min=1e-12) for level in wanted[0]]

    def error(i: int) -> Tensor:
        pairs = zip(run(frames[i]), wanted[i], spread, strict=True)
        return torch.stack([functional.mse_loss(found, true) / size for found, true, size in pairs]).mean()

    def mean_error() -> float:
        with torch.no_grad():
            return sum(error(i).item() for i in range(len(frames))) / len(frames)

    before, was = [parameter.detach().clone() for parameter in trained], mean_error()
    order = torch.Generator().manual_seed(0)
    for _ in bar(range(epochs), "tuning"):
        for i in torch.randperm(len(frames), generator=order).tolist():
            optimizer.zero_grad(set_to_none=True)
            error(i).backward()
            optimizer.step()
            schedule.step()
    became = mean_error()
    with torch.no_grad():
        for parameter, old in zip(trained, before, strict=True):
            parameter.copy_(parameter if became < was else old)
    for parameter, one in zip(network.parameters(), asked, strict=True):
        parameter.requires_grad_(one)
    return was, min(was, became)
