"""Networks written down in darknet's `.cfg` files: YOLOv3-tiny and its like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from emsyolo.geometry.anchors import decode_darknet
from emsyolo.layer.multistep import MultiStep, joined, over_time
from emsyolo.layer.stages import Stages
from emsyolo.layer.tdbn import TdBN
from emsyolo.model.detector import Detector
from emsyolo.model.encode import Encode
from emsyolo.model.head import YOLOHead
from emsyolo.model.yolov3_tiny import Through
from emsyolo.neuron.neuron import NeuronFactory, check_neuron, rectifying
from emsyolo.neuron.relu import rectifier
from emsyolo.text import read_text

Section = dict[str, str]
LONGEST = 7  # digits of a setting
SLOPES = {"leaky": 0.1, "relu": 0.0}  # of the activations, below 0


def read_cfg(path: Path) -> list[Section]:
    """The sections of a `.cfg` file, in order; the name stands under `type`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not text, or a line that is neither a section nor `key=value`; names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: looked for darknet's description of a network and found none")
    return parse_cfg(read_text(path), str(path))


def parse_cfg(content: str, source: str) -> list[Section]:
    """As `read_cfg`, of a file's content; errors name the source."""
    sections: list[Section] = []
    for number, line in enumerate(content.splitlines(), start=1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        key, equals, value = text.partition("=")
        if text.startswith("[") and text.endswith("]"):
            sections.append({"type": text[1:-1]})
        elif equals and sections and "${" not in text:  # which a config would take for a reference
            sections[-1][key.strip()] = value.strip()
        else:
            raise ValueError(f"{source}, line {number}: {line!r}; expected [section] or key=value")
    return sections


def cfg_text(sections: Sequence[Section]) -> str:
    """What `parse_cfg` reads as these sections."""
    lines = []
    for section in sections:
        lines += [f"[{section['type']}]", *(f"{key}={value}" for key, value in section.items() if key != "type")]
    return "\n".join(lines) + "\n"


class DarknetBackbone(Stages):
    """The layers of a `.cfg` file, up to what the linear convolutions before its `[yolo]` sections read.

    Convolution (ReLU, leaky ReLU or linear, with or without normalisation), max-pooling, route and upsample.

    Args:
        sections: without `[net]`.
        in_channels: of a frame.
        neuron: makes what stands in the place of ReLU and, told its slope if it takes one, of leaky ReLU.

    Raises:
        ValueError: a layer of another kind, or a setting that is missing or no number; names layer and key.
    """

    def __init__(self, sections: Sequence[Section], in_channels: int = 3, neuron: NeuronFactory = rectifier) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.sources: list[list[int]] = []  # of each layer: the layers whose outputs it reads, -1 is the image
        self.read: list[int] = []  # layers that the maps read, one for each [yolo]
        channels: list[int] = []
        for i, section in enumerate(sections):
            kind, before = section["type"], channels[-1] if channels else in_channels
            inputs = [i - 1]
            module: nn.Module = nn.Identity()
            after = before
            if kind == "convolutional":
                after = whole(section, "filters", i)
                module = _convolution(section, before, i, neuron)
            elif kind == "maxpool":
                module = max_pool(whole(section, "size", i), whole(section, "stride", i, 1))
            elif kind == "upsample":
                module = nn.Upsample(scale_factor=whole(section, "stride", i), mode="nearest")
            elif kind == "route":
                inputs = _route(section, i)
                after = sum(channels[source] for source in inputs)
            elif kind == "yolo":
                if i < 2 or sections[i - 1]["type"] != "convolutional":
                    raise ValueError(f"[yolo] is layer {i}; expected a convolution before it, and layers before that")
                self.read.append(i - 2)
            else:
                raise ValueError(f"[{kind}] is layer {i}; expected convolutional, maxpool, upsample, route or yolo")
            self.layers.append(module)
            self.sources.append(inputs)
            channels.append(after)
        # The convolution before each [yolo] is the head's.
        for place in self.read:
            self.layers[place + 1] = nn.Identity()
        self.out_channels = [channels[place] for place in self.read]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """`[T, N, C, H, W]` to what the maps read, small stride first."""
        outputs: list[Tensor] = []
        for module, sources in zip(self.layers, self.sources, strict=True):
            inputs = [outputs[source] if source >= 0 else x for source in sources]
            given = inputs[0] if len(inputs) == 1 else joined(inputs)
            outputs.append(self.stage(module, given) if isinstance(module, MultiStep) else over_time(given, module))
        return tuple(outputs[place] for place in reversed(self.read))


def whole(section: Section, key: str, number: int, default: int | None = None) -> int:
    """A setting of a layer that is a whole number of at least 1.

    Raises:
        ValueError: missing without a default, or anything else; names layer and key.
    """
    text = section.get(key, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST and int(text) >= 1):
        raise ValueError(f"layer {number} [{section['type']}]: {key}={text[:40]}; expected a whole number from 1 on")
    return int(text)


def _route(section: Section, number: int) -> list[int]:
    """The layers that a `[route]` joins; negative numbers count back from it."""
    try:
        given = [int(word) for word in section.get("layers", "").split(",")]
    except ValueError:
        given = []
    inputs = [place if place >= 0 else number + place for place in given]
    if not inputs or not all(0 <= place < number for place in inputs):
        raise ValueError(f"layer {number} [route]: layers={section.get('layers')}; expected numbers of earlier layers")
    return inputs


def _convolution(section: Section, channels_in: int, number: int, neuron: NeuronFactory) -> MultiStep:
    size, normalised = whole(section, "size", number, 1), section.get("batch_normalize", "0") == "1"
    channels = whole(section, "filters", number)
    padding = size // 2 if section.get("pad", "0") == "1" else 0
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, channels, size, whole(section, "stride", number, 1), padding, bias=not normalised)
    ]
    activation = section.get("activation", "linear")
    if activation not in SLOPES and activation != "linear":
        raise ValueError(f"layer {number} has activation={activation}; expected {', '.join(SLOPES)} or linear")
    fires = [rectifying(neuron, SLOPES[activation])] if activation in SLOPES else []
    if normalised:
        layers.append(TdBN(channels, fires[0].v_threshold if fires else 1.0))
    return MultiStep(*layers, *fires)


def max_pool(size: int, stride: int) -> nn.Module:
    """Darknet pads to the right and below, so that stride 1 keeps the size."""
    if stride > 1:
        return MultiStep(nn.MaxPool2d(size, stride, padding=(size - stride + 1) // 2))
    # Replicated: the same maximum as darknet's padding with minus infinity, and linear in time.
    return MultiStep(nn.ReplicationPad2d((0, size - 1, 0, size - 1)), nn.MaxPool2d(size, stride))


def darknet(
    *,
    T: int,
    num_classes: int,
    anchors: Sequence[Sequence[Sequence[float]]],
    cfg: str,
    neuron: NeuronFactory = rectifier,
    in_channels: int = 3,
) -> Detector:
    """The network of a `.cfg` file with two `[yolo]` sections, at strides 16 and 32 in darknet's form of boxes.

    Args:
        T: time steps; 1 for an ANN.
        num_classes: K.
        anchors: per stride (16, then 32) a list of (width, height) in px; those of the file are read by
            `app.darknet`.
        cfg: path of the file, or its content.
        neuron: makes what stands in the place of the file's activations; see `DarknetBackbone`.
        in_channels: of a frame.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be understood, or other than two maps.
    """
    check_neuron(neuron)
    source, sections = ("model.cfg", parse_cfg(cfg, "model.cfg")) if "\n" in cfg else (cfg, read_cfg(Path(cfg)))
    try:
        backbone = DarknetBackbone(sections[1:], in_channels, neuron)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    if len(backbone.read) != 2:
        raise ValueError(f"{source}: {len(backbone.read)} [yolo] sections; expected 2, at strides 32 and 16")
    neck = Through(*reversed(backbone.out_channels))
    return Detector(
        Encode(T), backbone, neck, YOLOHead(neck.out_channels, (16, 32), anchors, num_classes, decode_darknet)
    )
