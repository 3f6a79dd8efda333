"""The twin of a spiking network, which `twin=true` trains first: the same network with ReLU for every neuron."""

from __future__ import annotations

from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from emsyolo.app.config import compose_config
from emsyolo.neuron.neuron import spikes_of

TWIN_OF = "twin_of"  # in a twin's checkpoint: the config of the network that will start from it
ACTIVATION = "relu"  # option of the group `neuron`


def check_twin(cfg: DictConfig) -> None:
    """Refuse what has no twin, or what does not go together with one.

    Raises:
        ValueError: names the key, and says what to do.
    """
    twin = cfg.twin
    if not isinstance(twin, bool) and not (isinstance(twin, int) and twin >= 1):
        raise ValueError(f"twin={twin}: expected true, false or the number of the twin's epochs, at least 1")
    for key, why in (
        ("weights", "the network starts from its twin"),
        ("teacher", "train the twin by itself (neuron=relu), then type weights=TWIN teacher=TWIN"),
    ):
        if cfg.get(key) is not None:
            raise ValueError(f"twin={twin} and {key}={cfg[key]}: expected one of them; {why}")
    neuron = cfg.model.get("neuron")
    made = None if neuron is None else instantiate(neuron)()
    if made is None or spikes_of(made) is None:
        raise ValueError(
            f"twin={twin}: this network has {'no neurons' if made is None else f'{type(made).__name__} for neurons'} "
            "and is an ANN already; expected a spiking model or neuron, or twin=false"
        )


def twin_config(cfg: DictConfig) -> DictConfig:
    """The config of a network's twin: ReLU for its neurons, and one step for still images.

    Everything else stays: of event streams the steps, too, since each has a frame of its own.

    Args:
        cfg: of the spiking network; left as it is. `twin`: true, or the epochs of the twin.
    """
    result = cfg.copy()
    with open_dict(result):
        result.neuron = _activation()
        result.model.neuron = "${neuron}"
        if "steps" not in cfg.dataset:
            result.T = 1
        if not isinstance(cfg.twin, bool):
            result.trainer.max_epochs = cfg.twin
        result.twin = False
    return result


def _activation() -> Any:
    return OmegaConf.to_container(compose_config("train", [f"neuron={ACTIVATION}"]).neuron)
