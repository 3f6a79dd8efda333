"""Deterministic tensors by name for the SpikeYOLO fixtures (float64).

Same scheme as ems_official/fill.py (crc32 of the full state-dict name seeds the generator);
one rule differs: every one-dimensional tensor whose name ends in "weight" is a BN scale here
(names such as bn1, encode_bn, body.1.bn, body.2.2), so it is uniform(0.3, 0.7) whatever its name;
and the fixed DFL projection (dfl.conv.weight) is left as 0..15.
The gen1_* fixtures use bn=GEN1_BN (their neuron halves its input, so it needs larger scales to stay active).
"""

import zlib

import numpy as np

COCO_BN = (0.3, 0.7)
GEN1_BN = (0.9, 1.5)


def tensor_for(name: str, shape: tuple[int, ...], bn: tuple[float, float] = COCO_BN) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros((), dtype=np.int64)
    if name.endswith("dfl.conv.weight"):
        return np.arange(shape[1], dtype=np.float64).reshape(shape)
    if name.endswith("running_mean"):
        return rng.normal(0, 0.1, shape)
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) >= 2:  # convolution
        fan_in = int(np.prod(shape[1:]))
        return rng.normal(0, np.sqrt(6.0 / fan_in), shape)
    if name.endswith("weight"):  # BN scale
        return rng.uniform(*bn, shape)
    return rng.normal(0, 0.2, shape)
