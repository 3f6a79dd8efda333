"""What a network's convolutions are fed with while it runs: firing rates, operations, energy, spike purity."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from emsyolo.evaluator.alphabet import NUMBERS, Declared, bare, declared_of, tagged
from emsyolo.evaluator.count import Count, until_step
from emsyolo.neuron.neuron import Spikes, is_neuron, spikes_of

PJ_TO_MJ = 1e-9
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
COLUMNS = ("name", "levels", "firing_rate", "binary", "macs", "synops")  # of a row of metrics.json


@dataclass(frozen=True)
class ConvActivity:
    """What one convolution did, per image.

    Attributes:
        name: of the module in its network.
        firing_rate: share of its input that is not 0.
        levels: the largest spike that it can be fed with; None: numbers.
        signed: it can be fed with negative spikes.
        macs: multiply-accumulates over all steps really computed, padding included.
        synops: operations really done: of spikes the accumulates, `macs` times the mean spike (one of 3 counts three
            times, one of -1 once), of numbers all MACs.
        passes: computations per image: T, or 1 for what a still image needs once.
    """

    name: str
    firing_rate: float
    levels: int | None
    signed: bool
    macs: float
    synops: float
    passes: float

    @property
    def binary(self) -> bool:
        """Its input is 0 and 1 only."""
        return self.levels == 1 and not self.signed


@dataclass(frozen=True)
class Activity:
    """What a network did, per image.

    Attributes:
        firing_rate: spikes per neuron and step over all spiking layers; None: there are none.
        spikes: of all neurons over all steps; a 3 counts three times, a -1 once.
        layers: the convolutions, in the order of their first run.
    """

    firing_rate: float | None
    spikes: float | None
    layers: list[ConvActivity]

    def report(self, *, mac_pj: float = 4.6, ac_pj: float = 0.9) -> dict[str, Any]:
        """The part of metrics.json on activity: `firing_rate`, `spikes_per_image`, `layers`, `impure`, `energy`.

        Args:
            mac_pj: energy of a multiply-accumulate, pJ.
            ac_pj: energy of an accumulate, pJ.

        Returns:
            `firing_rate`; `spikes_per_image`; `layers`: a row per convolution, of `COLUMNS`; `impure`: `name` and
            `macs` of those that are not binary; `energy`: as `energy` gives it. Operations and energy are per image.
        """
        return {
            "firing_rate": self.firing_rate,
            "spikes_per_image": self.spikes,
            "layers": [{column: getattr(layer, column) for column in COLUMNS} for layer in self.layers],
            "impure": [{"name": layer.name, "macs": layer.macs} for layer in self.layers if not layer.binary],
            "energy": energy(self.layers, mac_pj=mac_pj, ac_pj=ac_pj),
        }


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
    snn = sum(layer.synops * (mac_pj if layer.levels is None else ac_pj) for layer in layers) * PJ_TO_MJ
    ann = sum(layer.macs / layer.passes for layer in layers) * mac_pj * PJ_TO_MJ
    return {"snn_mJ": snn, "ann_mJ": ann, "ratio": snn / ann if ann else None}


# (module, its input, what was declared of that, its output) -> what is declared of the output
Seen = Callable[[Any, Tensor, Declared | None, Tensor], Declared | None]


class ActivityMeter:
    """Counts what goes into every convolution and comes out of every spiking neuron of a network while it runs.

        with ActivityMeter(detector) as meter:
            for batch in batches:
                detector(batch.frames)
                meter.step(len(batch))
        meter.report()

    Exact, and in the same pass as the evaluation; no map is kept. Sums go on over several `with` blocks. A convolution
    is fed with spikes or with numbers as the neurons before it declare (`emsyolo.neuron.neuron.Neuron`), which is
    checked by what it sees; frames and sums of spikes, of which nothing is declared, are judged by what they hold.

    Args:
        network: any module; its convolutions see steps as batch, `[T*N, C, H, W]`.
        maps: names of convolutions that are run once for every read-out of a pass, in its order, each counted apart.

    Attributes:
        expects: steps and images of the next pass, where what each step does shall be known; None: only the sum is.
    """

    def __init__(self, network: nn.Module, maps: Collection[str] = ()) -> None:
        self.network = network
        self.images = 0
        self.expects: tuple[int, int] | None = None
        self._maps: dict[str, list[Count]] = {name: [] for name in maps}
        self._read: dict[str, int] = dict.fromkeys(maps, 0)  # read-outs of this pass
        self._convolutions: dict[str, Count] = {}
        self._neurons: dict[str, Count] = {}
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for name, module in self.network.named_modules():
            if isinstance(module, CONVOLUTIONS):
                self._watch(module, self._on_convolution(name))
            elif is_neuron(module):
                self._watch(module, self._on_neuron(name))
            elif getattr(module, "passes_spikes", False):
                self._watch(module, _passed)
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
        self._read = dict.fromkeys(self._read, 0)

    def activity(self, steps: int | None = None, read_out: int = -1) -> Activity:
        """What the network did.

        Args:
            steps: only up to so many of the steps that were expected; None: all.
            read_out: which one, of the convolutions that are run once for each.

        Raises:
            ValueError: no image was counted, or a neuron sent what it does not declare.
        """
        if self.images < 1:
            raise ValueError(
                f"the activity meter counted {self.images} images; expected step(n_images) after each batch"
            )
        for name, count in self._neurons.items():
            count.alphabet(name)
        outputs = sum(count.elements * count.share(steps) for count in self._neurons.values())
        spikes = sum(until_step(count.spikes, steps) for count in self._neurons.values())
        layers = [
            self._layer(name, self._maps[name][read_out] if self._maps.get(name) else count, steps)
            for name, count in self._convolutions.items()
        ]
        if not outputs:
            return Activity(None, None, layers)
        return Activity(spikes / outputs, spikes / self.images, layers)

    def report(self, mac_pj: float = 4.6, ac_pj: float = 0.9) -> dict[str, Any]:
        """`Activity.report` of what the network did."""
        return self.activity().report(mac_pj=mac_pj, ac_pj=ac_pj)

    def _layer(self, name: str, count: Count, steps: int | None) -> ConvActivity:
        spikes = count.alphabet(f"input of {name}")
        share = count.share(steps)
        macs = count.macs * share / self.images
        elements = max(1, count.elements) * share
        return ConvActivity(
            name=name,
            firing_rate=until_step(count.nonzero, steps) / elements,
            levels=None if spikes is None else spikes.levels,
            signed=spikes is not None and spikes.signed,
            macs=macs,
            synops=macs if spikes is None else until_step(count.spikes, steps) / elements * macs,
            passes=count.samples * share / self.images,
        )

    def _watch(self, module: nn.Module, seen: Seen) -> None:
        """Call `seen` with each input, its declaration and the output; it gives the declaration of the output."""
        inputs: list[Declared | None] = []

        def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            inputs.append(declared_of(args[0]))
            return tuple(bare(arg) if isinstance(arg, Tensor) else arg for arg in args)

        def after(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            return tagged(output, seen(module, args[0].detach(), inputs.pop(), bare(output.detach())))

        self._hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]

    def _on_convolution(self, name: str) -> Seen:
        def count_input(module: Any, x: Tensor, declared: Declared | None, output: Tensor) -> Declared:
            count = self._of_call(name)
            count.add(x, declared, *(self.expects or (1, 0)))
            # weight[0] is what makes one output, of a transposed convolution what one input adds to.
            ends = x if isinstance(module, nn.ConvTranspose2d) else output
            count.macs += ends.numel() * module.weight[0].numel()
            count.samples += len(x) if x.ndim == 4 else 1
            return NUMBERS

        return count_input

    def _of_call(self, name: str) -> Count:
        """Where the call of a convolution that begins is counted."""
        last = self._convolutions.setdefault(name, Count())
        if name not in self._maps:
            return last
        counts, place = self._maps[name], self._read[name]
        self._read[name] += 1
        if place == len(counts):
            counts.append(Count())
        self._convolutions[name] = counts[place]
        return counts[place]

    def _on_neuron(self, name: str) -> Seen:
        def count_output(module: Any, x: Tensor, declared: Declared | None, output: Tensor) -> Declared:
            spikes = spikes_of(module)
            if spikes is None:
                return NUMBERS
            sent = Declared(spikes)
            self._neurons.setdefault(name, Count()).add(output, sent, *(self.expects or (1, 0)))
            return sent

        return count_output


def _passed(module: Any, x: Tensor, declared: Declared | None, output: Tensor) -> Declared | None:
    """What comes out of a module that sends spikes on: those of its input, or, of another alphabet, that."""
    return Declared(module.passes_spikes) if isinstance(module.passes_spikes, Spikes) else declared


def until(meters: Mapping[int, ActivityMeter], *, maps: Collection[str], alone: bool) -> dict[int, Activity]:
    """What a network did up to each of several steps of one still image, from a meter of each stretch between them.

    The first convolution, and the head's maps, are needed once per image however often they were computed.

    Args:
        meters: by step, in order; the meter of the stretch that ends there.
        maps: names of the head's convolutions.
        alone: each stretch was a pass of its own, from step 0; else one pass went on from one to the next.
    """
    times = list(meters)
    stretches = [_once_per_image(meters[t].activity(), maps, first=alone or t == times[0]) for t in times]
    if alone:
        return dict(zip(times, stretches, strict=True))
    steps = [t - before for before, t in pairwise((0, *times))]
    rates = accumulate((stretch.firing_rate or 0.0) * count for stretch, count in zip(stretches, steps, strict=True))
    spikes = accumulate(stretch.spikes or 0.0 for stretch in stretches)
    layers = accumulate((stretch.layers for stretch in stretches), lambda before, after: _joined(before, after, maps))
    return {
        t: Activity(rate / t, sent, found) for t, rate, sent, found in zip(times, rates, spikes, layers, strict=True)
    }


def _once_per_image(activity: Activity, maps: Collection[str], *, first: bool) -> Activity:
    counted = []
    for place, layer in enumerate(activity.layers):
        share = 1.0
        if layer.name in maps:
            share = 1 / layer.passes
        elif place == 0:  # in a later stretch the image's first convolution is done already
            share = 1 / layer.passes if first else 0.0
        counted.append(
            replace(layer, macs=layer.macs * share, synops=layer.synops * share, passes=layer.passes * share)
        )
    return replace(activity, layers=counted)


def _joined(before: Sequence[ConvActivity], after: Sequence[ConvActivity], maps: Collection[str]) -> list[ConvActivity]:
    """Two stretches of time as one; of the maps, which are read out once, only the later."""
    joined = []
    for a, b in zip(before, after, strict=True):
        if a.name in maps:
            joined.append(b)
            continue
        passes = a.passes + b.passes
        rate = (a.firing_rate * a.passes + b.firing_rate * b.passes) / passes
        both = None if a.levels is None or b.levels is None else max(a.levels, b.levels)
        joined.append(
            ConvActivity(a.name, rate, both, a.signed or b.signed, a.macs + b.macs, a.synops + b.synops, passes)
        )
    return joined
