"""What a network's convolutions are fed with while it runs: firing rates, operations, energy, spike purity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

PJ_TO_MJ = 1e-9
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class ConvActivity:
    """What one convolution did, per image.

    Attributes:
        name: of the module in its network.
        firing_rate: share of ones in its input; of a non-binary input, the share of elements that are not 0.
        binary: every element of its input was 0 or 1.
        macs: multiply-accumulates over all steps really computed, padding included.
        synops: the accumulates that spikes cause, `firing_rate * macs`; of an input that is no spikes all its MACs.
        passes: how often it was computed, T or, for what a still image needs once, 1.
        signed: every element of its input was 0, 1 or -1, the spikes of signed neurons, which cost accumulates as well.
    """

    name: str
    firing_rate: float
    binary: bool
    macs: float
    synops: float
    passes: float
    signed: bool = False


def energy(layers: Sequence[ConvActivity], *, mac_pj: float, ac_pj: float) -> dict[str, float | None]:
    """Energy per image of convolutions, and of the same in a conventional network.

    A convolution of spikes costs its synaptic operations at `ac_pj`, any other its MACs at `mac_pj`; the conventional
    network computes each once, in MACs. The usual 4.6 and 0.9 pJ are for 32-bit floats at 45 nm (Horowitz, ISSCC 2014).

    Args:
        layers: the convolutions.
        mac_pj: energy of a multiply-accumulate, pJ.
        ac_pj: energy of an accumulate, pJ.

    Returns:
        `snn_mJ`, `ann_mJ`, and `ratio` = snn/ann, None without any MAC.
    """
    snn = sum(one.synops * (ac_pj if one.binary or one.signed else mac_pj) for one in layers) * PJ_TO_MJ
    ann = sum(one.macs / one.passes for one in layers) * mac_pj * PJ_TO_MJ
    return {"snn_mJ": snn, "ann_mJ": ann, "ratio": snn / ann if ann else None}


class _Count:
    """Running sums over one module's calls, kept on its device so that counting never waits for it."""

    def __init__(self) -> None:
        self.elements = 0
        self.nonzero: Tensor | int = 0
        self.ones: Tensor | int = 0
        self.units: Tensor | int = 0
        self.macs = 0
        self.samples = 0

    def add(self, x: Tensor) -> None:
        self.elements += x.numel()
        self.nonzero = self.nonzero + torch.count_nonzero(x)

    def add_ones(self, x: Tensor) -> None:
        self.ones = self.ones + torch.count_nonzero(x == 1)
        self.units = self.units + torch.count_nonzero(x.abs() == 1)

    @property
    def rate(self) -> float:
        return int(self.nonzero) / self.elements if self.elements else 0.0


class ActivityMeter:
    """Counts what goes into every convolution and comes out of every spiking neuron of a network while it runs.

        with ActivityMeter(detector) as meter:
            for batch in batches:
                detector(batch.frames)
                meter.step(len(batch))
        meter.report()

    Exact (integer sums) and in the same pass as the evaluation; no map is kept. Sums go on over several `with` blocks.

    Args:
        network: any module; its convolutions see steps as batch, `[T*N, C, H, W]`.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.images = 0
        self._convolutions: dict[str, _Count] = {}
        self._neurons: dict[str, _Count] = {}
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for name, module in self.network.named_modules():
            if isinstance(module, CONVOLUTIONS):
                self._hooks.append(module.register_forward_hook(self._on_convolution(name)))
            elif isinstance(module, BaseNode):
                self._hooks.append(module.register_forward_hook(self._on_neuron(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def step(self, n_images: int) -> None:
        """Say how many images the network saw since the last call."""
        self.images += n_images

    def layers(self) -> list[ConvActivity]:
        """The convolutions that ran, in the order of their first run.

        Raises:
            ValueError: no image was counted.
        """
        if self.images < 1:
            raise ValueError(
                f"the activity meter counted {self.images} images; expected step(n_images) after each batch"
            )
        return [self._layer(name, count) for name, count in self._convolutions.items()]

    def report(self, mac_pj: float = 4.6, ac_pj: float = 0.9) -> dict[str, Any]:
        """The part of metrics.json on activity: `firing_rate`, `layers`, `impure`, `energy`.

        Args:
            mac_pj: energy of a multiply-accumulate, pJ.
            ac_pj: energy of an accumulate, pJ.

        Returns:
            `firing_rate`: spikes per neuron and step over all spiking layers, None if there are none; `layers`: a row
            per convolution (`name`, `firing_rate`, `binary`, `macs`, `synops`); `impure`: `name` and `macs` of those
            that are not binary; `energy`: as `energy` gives it. Operations and energy are per image.

        Raises:
            ValueError: no image was counted.
        """
        layers = self.layers()
        outputs = sum(count.elements for count in self._neurons.values())
        spikes = sum(int(count.nonzero) for count in self._neurons.values())
        columns = ("name", "firing_rate", "binary", "macs", "synops")
        return {
            "firing_rate": spikes / outputs if outputs else None,
            "layers": [{column: getattr(one, column) for column in columns} for one in layers],
            "impure": [{"name": one.name, "macs": one.macs} for one in layers if not one.binary],
            "energy": energy(layers, mac_pj=mac_pj, ac_pj=ac_pj),
        }

    def _layer(self, name: str, count: _Count) -> ConvActivity:
        binary = int(count.ones) == int(count.nonzero)
        signed = int(count.units) == int(count.nonzero)
        macs = count.macs / self.images
        synops = count.rate * macs if signed else macs
        return ConvActivity(name, count.rate, binary, macs, synops, count.samples / self.images, signed)

    def _on_convolution(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def count_input(module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
            x = args[0].detach()
            count = self._convolutions.setdefault(name, _Count())
            count.add(x)
            count.add_ones(x)
            # weight[0] is what makes one output, of a transposed convolution what one input adds to.
            ends = x if isinstance(module, nn.ConvTranspose2d) else output
            count.macs += ends.numel() * module.weight[0].numel()
            count.samples += len(x) if x.ndim == 4 else 1

        return count_input

    def _on_neuron(self, name: str) -> Callable[[BaseNode, tuple[Tensor, ...], Tensor], None]:
        def count_output(module: BaseNode, args: tuple[Tensor, ...], output: Tensor) -> None:
            self._neurons.setdefault(name, _Count()).add(output.detach())

        return count_output
