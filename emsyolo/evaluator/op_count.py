"""SpikingJelly's own count of a network's operations, beside ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from spikingjelly.activation_based.op_counter import SimpleEnergyConfig, SimpleEnergyCostConfig, SimpleEnergyProfiler
from torch import nn

from emsyolo.evaluator.activity import PJ_TO_MJ, ActivityMeter


def energy_beside_spikingjelly(
    network: nn.Module, run: Callable[[], object], *, mac_pj: float, ac_pj: float
) -> dict[str, Any]:
    """The operations of one image as this project counts them, and as SpikingJelly's `SimpleEnergyProfiler` does.

    They differ in what they count, not in how often: ours are the papers' `firing rate x operations` of convolutions,
    which takes each spike to meet every weight; theirs are the accumulates that really happen, so that a spike at the
    border, or one that a stride passes over, costs less (1x1 convolutions agree to the last spike). Theirs knows
    no negative spikes, whose convolutions it takes for multiply-accumulates; and it adds normalisation, sums and the
    traffic of memory: every use of a weight and every potential, read and written at each step.

    Args:
        network: what `run` computes with.
        run: one pass over one image, not under `torch.inference_mode`, where SpikingJelly's counters see nothing.
        mac_pj: energy of a multiply-accumulate, pJ.
        ac_pj: energy of an accumulate, pJ.

    Returns:
        `ours_mJ`; `spikingjelly` {`convolutions_mJ`, `other_mJ`, `memory_mJ`}; `layers`, a row per convolution: `name`,
        `synops`, `macs` as counted here (one of the two is 0), `spikingjelly_acs`, `spikingjelly_macs`.
    """
    with torch.inference_mode(mode=False), torch.no_grad():
        with ActivityMeter(network) as meter:
            run()
            meter.step(1)
        cost = SimpleEnergyCostConfig(e_mac_pj=mac_pj, e_ac_pj=ac_pj)
        profiler = SimpleEnergyProfiler(config=SimpleEnergyConfig(cost_config=cost))
        profiler.bind_model(network)
        with profiler:
            run()
    acs, macs = profiler.ac_counter.get_counts(), profiler.mac_counter.get_counts()
    report = profiler.get_report()
    rows: list[dict[str, Any]] = []
    for layer in meter.activity().layers:
        spikes = layer.levels is not None
        rows.append(
            {
                "name": layer.name,
                "synops": layer.synops if spikes else 0.0,
                "macs": 0.0 if spikes else layer.macs,
                "spikingjelly_acs": _of(acs, network, layer.name),
                "spikingjelly_macs": _of(macs, network, layer.name),
            }
        )

    def energy(ac_key: str, mac_key: str) -> float:
        return sum(row[ac_key] * ac_pj + row[mac_key] * mac_pj for row in rows) * PJ_TO_MJ

    convolutions = energy("spikingjelly_acs", "spikingjelly_macs")
    return {
        "ours_mJ": energy("synops", "macs"),
        "spikingjelly": {
            "convolutions_mJ": convolutions,
            "other_mJ": report.energy_compute_pj * PJ_TO_MJ - convolutions,
            "memory_mJ": report.energy_memory_pj * PJ_TO_MJ,
        },
        "layers": rows,
    }


def _of(counts: Mapping[str, Mapping[Any, int]], network: nn.Module, name: str) -> int:
    """The operations of one module, which SpikingJelly calls by the class of the outermost module that ran, and on."""
    parts = name.split(".")
    for i in range(len(parts)):
        outermost = network.get_submodule(".".join(parts[:i]))
        scope = ".".join((type(outermost).__name__, *parts[i:]))
        if scope in counts:
            return sum(counts[scope].values())
    return 0
