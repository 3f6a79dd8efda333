"""Run a network of your own, which knows nothing of this project, as a spiking one.

    python examples/convert_your_own.py [T ...]

Put yours, trained, in the place of `Yours`, and some of its training images in that of `images`. Of a detector, convert
what leads from images to maps; of torchvision's RetinaNet or SSDlite that is `DetectorMaps(detector)`.
"""

import sys

import torch
from torch import nn
from torch.nn import functional as F

from emsyolo.convert.converter import Conversion
from emsyolo.convert.traced import convert_module


class Yours(nn.Module):
    """A detector of two scales with a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU6(inplace=True))
        self.conv, self.norm = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.deeper = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.LeakyReLU(0.1))
        self.heads = nn.ModuleList([nn.Conv2d(48, 15, 1), nn.Conv2d(32, 15, 1)])

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps of both scales, `[N, 15, H, W]`."""
        x = self.stem(images)
        x = F.relu(x + self.norm(self.conv(x)))
        y = self.deeper(x)
        x = torch.cat((x, F.interpolate(y, size=x.shape[-2:])), dim=1)
        return {"fine": self.heads[0](x), "coarse": self.heads[1](y)}


if __name__ == "__main__":
    torch.manual_seed(0)
    yours, images = Yours().eval(), torch.rand(8, 3, 64, 96)
    with torch.no_grad():
        wanted = yours(images)
    for rule in ("signed", "radix"):
        for T in map(int, sys.argv[1:] or (4, 8, 16)):
            spiking = convert_module(yours, lambda: [images], Conversion(rule=rule, T=T, normalise="mean_square"))
            off = {name: (maps - wanted[name]).std() / wanted[name].std() for name, maps in spiking(images).items()}
            said = ", ".join(f"{name} {share:.2%}" for name, share in off.items())
            print(f"{rule:6s} T={T:2d}: maps off by {said} of their deviation, after {spiking.latency_steps} steps")
