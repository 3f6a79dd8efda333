"""Networks of strangers for the tests of `convert_module`: random ones, and torchvision's detectors."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v2
from torchvision.models.detection import retinanet_resnet50_fpn, ssdlite
from torchvision.ops import FrozenBatchNorm2d

from emsyolo.convert.traced import DetectorMaps

Function = Callable[[Any, Tensor, Tensor], Tensor]  # of the network, maps, and other maps


def with_statistics(norm: Any) -> Any:
    """A normalisation as after some training."""
    norm.running_mean.normal_(0, 0.3)
    norm.running_var.uniform_(0.2, 0.6)
    norm.weight.data.uniform_(0.6, 1.4)
    norm.bias.data.normal_(0, 0.3)
    return norm


class RandomNetwork(nn.Module):
    """Operations on maps that came before, drawn by a seed, as layers and as functions; with outputs of all kinds."""

    def __init__(self, seed: int, operations: int = 9) -> None:
        super().__init__()
        torch.manual_seed(seed)
        draw = random.Random(seed)
        self.layers = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1)])
        self.shared = nn.ReLU(inplace=True)
        self.factor = nn.Parameter(torch.tensor(0.7))
        self.register_buffer("offset", torch.tensor(0.1))
        self.plan: list[tuple[int | Function, int, int]] = [(0, 0, 0)]  # what, of which maps
        sizes = [(3, 12, 16), (4, 12, 16)]  # of the maps, the images first
        for _ in range(operations):
            of = draw.randrange(1, len(sizes))
            c, h, w = sizes[of]
            other = draw.choice([i for i in range(1, len(sizes)) if sizes[i][1:] == (h, w)])
            same = draw.choice([i for i in range(1, len(sizes)) if sizes[i] == (c, h, w)])
            make, out, scale, second = draw.choice(_choices(c, h, sizes[other][0], same, other))
            if isinstance(made := make(), nn.Module):
                self.layers.append(made)
                made = len(self.layers) - 1
            self.plan.append((made, of, second))
            sizes.append((out, int(h * scale), int(w * scale)))
        self.plan.append((lambda net, x, _: net.shared(x), len(sizes) - 1, 0))
        self.last = nn.Linear(sizes[-1][0], 5)
        self.norm = with_statistics(nn.BatchNorm1d(5))

    def forward(self, x: Tensor) -> OrderedDict[str, Any]:
        maps = [x]
        for what, of, other in self.plan:
            maps.append(self.layers[what](maps[of]) if isinstance(what, int) else what(self, maps[of], maps[other]))
        vector = self.norm(self.last(torch.flatten(F.adaptive_avg_pool2d(maps[-1], 1), 1)))
        n, _, h, w = maps[-1].shape
        flat = maps[-1].view(n, -1, 1, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, 1)
        return OrderedDict(vector=vector, maps=(maps[-1], [maps[len(maps) // 2], flat]))


def _choices(c: int, h: int, others: int, same: int, other: int) -> list[tuple[Any, ...]]:
    """What may follow maps of c channels: what makes it, its channels, how it scales them, what else it reads."""

    def bn(channels: int) -> Any:
        return with_statistics(nn.BatchNorm2d(channels))

    layers: list[tuple[Any, ...]] = [
        (lambda: nn.Conv2d(c, 6, 3, padding=1), 6),
        (lambda: nn.Conv2d(c, 2 * c, 3, padding=1, groups=c, bias=False), 2 * c),
        (lambda: nn.ConvTranspose2d(c, 4, 3, padding=1), 4),
        (lambda: nn.Sequential(nn.ConvTranspose2d(c, c, 1, groups=c), bn(c)),),
        (lambda: nn.Sequential(nn.ConvTranspose2d(c, 4, 1), bn(4)), 4),
        (lambda: nn.Sequential(nn.Conv2d(c, c, 1), with_statistics(FrozenBatchNorm2d(c)), nn.LeakyReLU(0.1)),),
        (lambda: nn.Sequential(nn.Dropout(), nn.ReLU6(inplace=True)),),
        (lambda: bn(c),),
        (lambda: with_statistics(FrozenBatchNorm2d(c)),),
        (lambda: nn.Hardtanh(0, 0.8),),
    ]
    functions: list[tuple[Any, ...]] = [
        (lambda net, x, _: F.relu(x),),
        (lambda net, x, _: net.shared(net.factor * x),),
        (lambda net, x, _: x.clamp(0, 1.5),),
        (lambda net, x, _: F.leaky_relu(x, 0.2),),
        (lambda net, x, _: net.factor * x - net.offset,),
        (lambda net, x, y: x + y, c, 1.0, same),
        (lambda net, x, y: torch.cat((x, y), dim=1), c + others, 1.0, other),
    ]
    if h >= 6:
        layers += [(lambda: nn.MaxPool2d(2), c, 0.5), (lambda: nn.AvgPool2d(2), c, 0.5)]
        functions += [(lambda net, x, _: F.max_pool2d(x, 3, stride=2, padding=1), c, 0.5)]
    if h <= 12:
        layers += [(lambda: nn.Upsample(scale_factor=2), c, 2.0)]
        functions += [(lambda net, x, _: F.interpolate(x, scale_factor=2, mode="bilinear"), c, 2.0)]
    functions = [(lambda call=call: call, *rest) for call, *rest in functions]
    return [(*one, *(c, 1.0, 0)[len(one) - 1 :]) for one in layers + functions]


class SSDLite(nn.Module):
    """torchvision's SSDlite head and extra layers on its MobileNetV2, ReLU6 throughout."""

    def __init__(self) -> None:
        super().__init__()
        features = mobilenet_v2(weights=None, width_mult=0.5).features
        self.features = nn.ModuleList([features[:14], features[14:], ssdlite._extra_block(1280, 64, nn.BatchNorm2d)])
        self.head = ssdlite.SSDLiteHead([48, 1280, 64], [6, 6, 6], 5, nn.BatchNorm2d)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = []
        for part in self.features:
            x = part(x)
            maps.append(x)
        found: dict[str, Tensor] = self.head(maps)
        return found


def retinanet() -> nn.Module:
    return DetectorMaps(retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=5))


def pictures(n: int, seed: int = 0) -> Tensor:
    """Noise of every coarseness, as pictures have it."""
    torch.manual_seed(seed)
    return sum((F.interpolate(torch.randn(n, 3, 2 * k, 3 * k), (64, 96)) for k in (1, 2, 4, 8)), torch.zeros(()))


def as_if_trained(network: nn.Module) -> nn.Module:
    """Random weights, with activations of the same size in every layer, most of them above 0.

    The statistics of the normalisation are those of pictures, and its shifts 1: with shifts of 0 a random network with
    normalisation multiplies whatever noise it meets, by more with every layer, which trained ones do not.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over what comes
            nn.init.ones_(module.bias)
    with torch.no_grad():
        network.train()(pictures(8))
    return network.eval()
