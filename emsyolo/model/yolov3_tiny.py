"""The networks of the conversion papers: YOLOv3-tiny without pooling (Spiking YOLOv3), and Tiny-YOLO (Spiking-YOLO).

Layers are convolution, normalisation, activation; the activation arrives as a factory, so that ReLU, the quantised
activation, and LIF neurons as well, make one network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from emsyolo.geometry.anchors import BoxDecoding, decode_yolov5
from emsyolo.layer.multistep import MultiStep, joined
from emsyolo.layer.stages import Stages
from emsyolo.layer.tdbn import TdBN
from emsyolo.model.detector import Detector
from emsyolo.model.encode import Encode
from emsyolo.model.head import YOLOHead
from emsyolo.model.temporal import TemporalFactory, temporal_behind
from emsyolo.neuron.neuron import NeuronFactory, check_neuron


def layer(channels_in: int, channels_out: int, kernel: int, stride: int, neuron: NeuronFactory) -> MultiStep:
    """Convolution, normalisation, activation."""
    activation = neuron()
    return MultiStep(
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False),
        TdBN(channels_out, activation.v_threshold),
        activation,
    )


class YOLOv3Backbone(Stages):
    """Conv1 to Conv12 of Spiking YOLOv3: strided convolutions for max-pooling. Ming and Li, 2024, table 1.

    Args:
        scaled: channels by the published number of channels.
        neuron: makes an activation.
        in_channels: of a frame.
    """

    def __init__(self, scaled: Callable[[int], int], neuron: NeuronFactory, in_channels: int) -> None:
        super().__init__()
        layers, before = [], in_channels
        for channels in (16, 32, 64, 128):
            layers.append(layer(before, scaled(channels), 3, 1, neuron))
            layers.append(layer(scaled(channels), scaled(channels), 3, 2, neuron))
            before = scaled(channels)
        self.fine = nn.Sequential(*layers, layer(before, scaled(256), 3, 1, neuron))
        self.coarse = nn.Sequential(
            layer(scaled(256), scaled(256), 3, 2, neuron),
            layer(scaled(256), scaled(512), 3, 1, neuron),
            layer(scaled(512), scaled(1024), 3, 1, neuron),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`[T, N, C, H, W]` to the maps of Conv9 (stride 16) and Conv12 (stride 32)."""
        fine = self.stage(self.fine, x)
        return fine, self.stage(self.coarse, fine)


class YOLOv3Neck(Stages):
    """Conv13 to Conv17: two scales; a transposed convolution brings the coarse one back to the fine one.

    Args:
        scaled: channels by the published number of channels.
        neuron: makes an activation.
    """

    def __init__(self, scaled: Callable[[int], int], neuron: NeuronFactory) -> None:
        super().__init__()
        self.out_channels = (scaled(256), scaled(512))
        self.reduce = layer(scaled(1024), scaled(256), 1, 1, neuron)
        self.last5 = layer(scaled(256), scaled(512), 3, 1, neuron)
        self.lateral = layer(scaled(256), scaled(128), 1, 1, neuron)
        activation = neuron()
        self.up = MultiStep(
            nn.ConvTranspose2d(scaled(128), scaled(128), 3, 2, padding=1, output_padding=1, bias=False),
            TdBN(scaled(128), activation.v_threshold),
            activation,
        )
        self.last4 = layer(scaled(128) + scaled(256), scaled(256), 3, 1, neuron)

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Maps at stride 16 and stride 32."""
        reduced = self.stage(self.reduce, coarse)
        up = self.stage(self.up, self.stage(self.lateral, reduced))
        return self.stage(self.last4, joined((up, fine))), self.stage(self.last5, reduced)


class TinyYOLOBackbone(Stages):
    """The convolutions of Tiny-YOLO (YOLOv2-tiny) but the last, with 2x2 max-pooling. Redmon and Farhadi, 2017.

    Args:
        scaled: channels by the published number of channels.
        neuron: makes an activation.
        in_channels: of a frame.
    """

    def __init__(self, scaled: Callable[[int], int], neuron: NeuronFactory, in_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for channels in (16, 32, 64, 128, 256):
            layers.append(MultiStep(*layer(before, scaled(channels), 3, 1, neuron), nn.MaxPool2d(2, 2)))
            before = scaled(channels)
        # The sixth pooling has stride 1; zeros to the right and below let the map keep its size.
        padded = nn.ZeroPad2d((0, 1, 0, 1))
        layers.append(MultiStep(*layer(before, scaled(512), 3, 1, neuron), padded, nn.MaxPool2d(2, 1)))
        layers.append(layer(scaled(512), scaled(1024), 3, 1, neuron))
        layers.append(layer(scaled(1024), scaled(1024), 3, 1, neuron))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """`[T, N, C, H, W]` to the map at stride 32."""
        for part in self.layers:
            x = self.stage(part, x)
        return (x,)


class Through(nn.Module):
    """A neck that changes nothing.

    Args:
        out_channels: of its inputs.
    """

    moves_values = True

    def __init__(self, *out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """The maps as they are."""
        return maps


def _scaled(width: float) -> Callable[[int], int]:
    if not width > 0:
        raise ValueError(f"model.width is {width}; expected a factor > 0")
    return lambda channels: max(8, round(channels * width / 8) * 8)


def spiking_yolov3(
    *,
    T: int,
    num_classes: int,
    anchors: Sequence[Sequence[Sequence[float]]],
    neuron: NeuronFactory,
    width: float = 1.0,
    in_channels: int = 3,
    decoding: BoxDecoding = decode_yolov5,
    anchors_per_level: Sequence[int] | None = None,
    temporal: TemporalFactory | None = None,
) -> Detector:
    """The ANN of Spiking YOLOv3 (ReLU) and of Spiking YOLOv3-FC (quantised activation). Ming and Li, 2024.

    Args:
        T: time steps; 1 for an ANN.
        num_classes: K.
        anchors: per stride (16, then 32) a list of (width, height) in px.
        neuron: makes an activation; it has `v_threshold`.
        width: factor on all channels, rounded to a multiple of 8.
        in_channels: of a frame.
        decoding: form of the boxes.
        anchors_per_level: how many, per stride; what `anchors: auto` finds. None: as many as there are.
        temporal: makes what stands between neck and head; None: nothing does. It cannot be converted.

    Raises:
        ValueError: an argument outside its range.
    """
    check_neuron(neuron)
    scaled = _scaled(width)
    neck = YOLOv3Neck(scaled, neuron)
    head = YOLOHead(neck.out_channels, (16, 32), anchors, num_classes, decoding, anchors_per_level)
    backbone = YOLOv3Backbone(scaled, neuron, in_channels)
    return Detector(Encode(T), backbone, neck, head, temporal_behind(neck, temporal))


def spiking_yolo(
    *,
    T: int,
    num_classes: int,
    anchors: Sequence[Sequence[Sequence[float]]],
    neuron: NeuronFactory,
    width: float = 1.0,
    in_channels: int = 3,
    decoding: BoxDecoding = decode_yolov5,
    anchors_per_level: Sequence[int] | None = None,
    temporal: TemporalFactory | None = None,
) -> Detector:
    """The ANN of Spiking-YOLO: Tiny-YOLO, one map at stride 32. Kim et al., AAAI 2020.

    For the arguments see `spiking_yolov3`; the lists of `anchors` are joined because there is one map.
    """
    check_neuron(neuron)
    scaled = _scaled(width)
    neck = Through(scaled(1024))
    joined = [[anchor for level in anchors for anchor in level]]
    head = YOLOHead(neck.out_channels, (32,), joined, num_classes, decoding, anchors_per_level)
    backbone = TinyYOLOBackbone(scaled, neuron, in_channels)
    return Detector(Encode(T), backbone, neck, head, temporal_behind(neck, temporal))
