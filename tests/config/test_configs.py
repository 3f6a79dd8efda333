"""Every option of every group composes and instantiates; folder = group = second word of `_target_`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from emsyolo.app.build import data_of
from emsyolo.app.config import compose_config
from emsyolo.app.folder import conf_dir
from emsyolo.app.keys import PLUMBING, Key, explained

CONF = conf_dir()
GROUPS = ("dataset", "model", "neuron", "loss", "optimizer", "trainer", "convert", "format")
PARENTS = ("_still", "_event", "_labelled", "none")  # make nothing themselves
OPTIONS = [
    (path.parent.name, path.stem)
    for group in GROUPS
    for path in sorted((CONF / group).glob("*.yaml"))
    if path.stem not in PARENTS
]
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@cache
def as_composed(script: str, *overrides: str) -> DictConfig:
    return compose_config(script, overrides)


def composed(*overrides: str, script: str = "train") -> DictConfig:
    cfg = as_composed(script, *overrides).copy()
    OmegaConf.update(cfg, "model.num_classes", 3)
    if "anchors_per_level" in cfg.model:
        anchors = [[[10, 14]] * count for count in cfg.model.anchors_per_level]
        OmegaConf.update(cfg, "model.anchors", anchors, merge=False)
    return cfg


def script_of(group: str) -> str:
    return {"convert": "evaluate", "format": "export"}.get(group, "train")


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_option_composes_and_its_target_lies_in_its_folder(group: str, option: str) -> None:
    cfg = composed(f"{group}={option}", script=script_of(group))
    assert cfg[group]._target_.split(".")[:2] == ["emsyolo", {"format": "deploy"}.get(group, group)]


@pytest.mark.parametrize(("group", "option"), [o for o in OPTIONS if o[0] != "trainer"])
def test_option_instantiates(group: str, option: str) -> None:
    if option == "yolov3_tiny":
        pytest.skip("yolov3_tiny is made from a file of darknet's; see tests/unit/convert/test_darknet.py")
    size = ["dataset.size_hw=[64,96]"] if group == "dataset" else []  # auto would open the set
    cfg = composed(f"{group}={option}", "model.width=0.125", *size, script=script_of(group))
    made = data_of(cfg) if group == "dataset" else instantiate(cfg[group], _convert_="all")
    assert made is not None
    if group == "neuron":
        assert made().v_threshold > 0


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values of a composed config, without what stands for Hydra."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in PLUMBING:
            found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def explained_values(script: str, typed: dict[str, str]) -> dict[str, Any]:
    """The values of the keys that `--help` and the reference list, as YAML reads them."""
    found = explained(script, typed)
    parts = {key.path.rpartition(".")[0] for key in found}
    parts |= {key.path for key in found if key.default.startswith("emsyolo.") or key.default == "{}"}
    values = [key for key in found if not key.choices and key.path not in parts]
    return {key.path: OmegaConf.to_container(OmegaConf.create(f"x: {quoted(key)}"), resolve=False) for key in values}


def quoted(key: Key) -> str:
    return f'"{key.default}"' if key.default.startswith("${") or ": " in key.default else key.default


def check_explained(script: str, typed: dict[str, str]) -> None:
    cfg = as_composed(script, *(f"{group}={option}" for group, option in typed.items()))
    expected = leaves(OmegaConf.to_container(cfg, resolve=False))
    found = explained_values(script, typed)
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        if not str(value).startswith("${oc.select:"):
            assert str(found[path]["x"]) == str(value), path  # a number in quotes is text to only one of them


@pytest.mark.parametrize("script", ["train", "evaluate", "predict", "export"])
def test_keys_that_are_explained_are_those_that_a_command_composes(script: str) -> None:
    check_explained(script, {})


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_keys_that_are_explained_are_those_of_the_option(group: str, option: str) -> None:
    check_explained(script_of(group), {group: option})


def stated(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values that a YAML file states."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if key == "defaults":
            continue
        path = f"{prefix}{key}"
        flat |= stated(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_key_of_an_experiment_survives(experiment: str) -> None:
    cfg = compose_config("train", [f"experiment={experiment}"])
    for key, value in stated(yaml.safe_load((CONF / "experiment" / f"{experiment}.yaml").read_text())).items():
        if not key.startswith("hydra."):  # which is composed with a script alone
            assert OmegaConf.select(cfg, key) == value, key


VOC = [[[24, 44], [54, 89], [82, 199]], [[144, 123], [179, 268], [346, 334]]]
COCO = [[[10, 14], [23, 27], [37, 58]], [[81, 82], [135, 169], [344, 319]]]
UAV = [[[8, 9], [10, 12], [13, 12]], [[14, 15], [17, 20], [23, 26]]]


@pytest.mark.parametrize(
    ("experiment", "anchors", "levels"),
    [
        ("voc_spiking_yolov3", VOC, None),
        ("voc_spiking_yolov3_fc", VOC, 256),
        ("voc_spiking_yolo", "auto", None),
        ("coco_spiking_yolov3", COCO, None),
        ("coco_spiking_yolov3_fc", COCO, 256),
        ("coco_spiking_yolo", "auto", None),
        ("uav_spiking_yolov3", UAV, None),
        ("uav_spiking_yolov3_fc", UAV, 128),
    ],
)
def test_recipes_of_the_conversion_paper(experiment: str, anchors: Any, levels: int | None) -> None:
    # Ming and Li, 2024, section 3: 416x416, cutout and mosaic, AdamW of 0.001 and 5e-4, batch 16, 300 epochs.
    cfg = compose_config("train", [f"experiment={experiment}"])
    data, _, model = experiment.partition("_")
    assert cfg.dataset.name == data
    assert cfg.model._target_.endswith("." + model.removesuffix("_fc"))
    assert cfg.model.anchors == anchors
    assert cfg.model.neuron.get("levels") == levels
    assert (cfg.model.width, cfg.dataset.size_hw, cfg.dataset.batch_size) == (1.0, [416, 416], 16)
    assert (cfg.dataset.augment.cutout.p, cfg.dataset.augment.mosaic.p) == (0.5, 1.0)
    assert (cfg.optimizer.optimizer._target_, cfg.optimizer.optimizer.lr) == ("torch.optim.AdamW", 0.001)
    assert (cfg.optimizer.weight_decay, cfg.optimizer.optimizer.betas[0]) == (5e-4, 0.9)
    assert cfg.trainer.max_epochs == 300
    assert cfg.loss == compose_config("train", ["loss=yolo"]).loss


def test_the_recipe_for_photographs_is_for_whatever_folder() -> None:
    cfg = composed("experiment=small_photos", "dataset.root=/a/my set")
    assert (cfg.dataset.name, cfg.dataset.licence, cfg.dataset.size_hw) == ("my_set", None, "auto")


def test_command_line_wins_over_an_experiment() -> None:
    assert composed(f"experiment={EXPERIMENTS[0]}", "T=7").T == 7


@pytest.mark.parametrize("script", ["train", "evaluate", "predict", "export"])
def test_self_stands_before_every_group(script: str) -> None:
    defaults = yaml.safe_load((CONF / f"{script}.yaml").read_text())["defaults"]
    assert defaults.index("_self_") < min(i for i, entry in enumerate(defaults) if isinstance(entry, dict))


@pytest.mark.parametrize("key", ["tiem_steps=4", "neuron.threshold=1", "trainer.epochs=3", "dataset.folder=x"])
def test_unknown_keys_fail(key: str) -> None:
    with pytest.raises(ConfigCompositionException, match="Could not override"):
        composed(key)


def test_sharded_gradients_are_not_clipped() -> None:
    assert composed("trainer=fsdp").trainer.gradient_clip_val is None  # Lightning's FSDPPrecision refuses their norm


def test_numbers_reach_the_network() -> None:
    cfg = composed("neuron.v_threshold=0.7", "neuron.decay=0.5", "T=3", "model.width=0.125", "neuron.backend=torch")
    detector = instantiate(cfg.model, _convert_="all")
    neuron = detector.backbone.stages[0][0].residual[0]
    assert (neuron.v_threshold, neuron.decay, neuron.backend, detector.T) == (0.7, 0.5, "torch", 3)
    assert detector.backbone.stages[0][0].residual[2].weight[0].item() == pytest.approx(0.7)


def test_configs_are_yaml_alone() -> None:
    assert not [p for p in Path(CONF).rglob("*") if p.is_file() and p.suffix != ".yaml"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("eval_bacth_size", "did you mean eval_batch_size"),
        ("box_filtr", "did you mean box_filter"),
        ("fitt", "did you mean fit"),
        ("zzz", "nothing reads this key"),
    ],
)
def test_a_misspelt_key_of_a_data_set_fails(key: str, expected: str) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.{key}: .*{expected}"):
        data_of(composed("dataset=gen1_dvs", f"+dataset.{key}=1"))


def test_a_model_brings_its_loss_and_its_conversion_and_the_command_line_wins() -> None:
    assert composed("model=spiking_yolov3_fc").convert.rule == "plain"
    assert composed("model=spiking_yolov3_fc", "convert=signed").convert.rule == "signed"
    assert not composed("model=spiking_yolov3_fc", "convert=none").convert
    assert not composed().convert
    assert composed().loss._target_ == "emsyolo.loss.point.PointLoss"
    assert composed("model=ems_small").loss.box == 0.5
    assert composed("model=ems_small", "loss=yolo").loss.box == 0.05
    assert composed("model=ems_small", "head=anchor_free").loss._target_ == "emsyolo.loss.point.PointLoss"


def test_steps_are_those_of_the_neuron_unless_typed() -> None:
    assert composed().T == 1
    assert composed("model=ems_small").T == 2
    assert composed("model=ems_small", "neuron=ilif").T == 1
    assert composed("dataset=gen1_dvs", "neuron=ilif").T == 5
    assert composed("model=spike_yolo_gen1_s").neuron.decay == 0.5
    assert composed("experiment=gen1_spike_yolo").T == 2


def test_a_protocol_is_a_field_of_its_data_set() -> None:
    cfg = composed("dataset=gen1_dvs")
    assert (cfg.T, cfg.dataset.window_us, cfg.dataset.steps) == (5, 250_000, 5)
    cfg = composed("dataset=gen1_dvs", "protocol=rvt", "T=3", "dataset.window_us=7")
    assert (cfg.T, cfg.dataset.window_us, cfg.dataset.steps, cfg.dataset.box_filter) == (3, 7, 1, "prophesee")
    with pytest.raises(ConfigCompositionException, match="Could not override 'protocol'"):
        composed("protocol=ems")


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF / "temporal").glob("*.yaml")))
@pytest.mark.parametrize("model", ["ems_small", "ems_small_ilif", "spike_yolo_n", "spiking_yolov3", "spiking_yolo"])
def test_what_stands_before_the_head_is_chosen_for_every_model(model: str, option: str) -> None:
    cfg = composed(f"model={model}", f"temporal={option}", "model.width=0.125")
    assert cfg.model.temporal == cfg.temporal
    detector = instantiate(cfg.model, _convert_="all")
    assert (detector.temporal is None) == (option == "none")


def test_boxes_to_train_on_follow_those_that_are_counted() -> None:
    def trained_on(*overrides: str) -> dict[str, Any]:
        dataset: Any = OmegaConf.to_container(composed(*overrides).dataset, resolve=True)
        return {key: value for key, value in (dataset["train"]["box_filter"] or {}).items() if key != "_target_"}

    assert trained_on("dataset=gen1_dvs") == {}
    assert trained_on("dataset=gen1_dvs", "protocol=cordone") == {"min_diagonal_px": 30, "min_side_px": 20}
    rvt = {"min_diagonal_px": 30, "min_side_px": 10, "max_width_share": 0.9}
    assert trained_on("dataset=gen1_dvs", "protocol=rvt") == rvt
    stored = {"min_side_px": 5, "max_width_share": 0.9}
    assert trained_on("dataset=one_mpx") == trained_on("dataset=etram", "protocol=cordone") == stored
    assert trained_on("dataset=dsec_detection") == {"min_diagonal_px": 30, "min_side_px": 20}
    assert trained_on("dataset=pedro") == trained_on("dataset=rvt_tree") == {}


def test_no_filter_that_is_counted_under_has_a_share_of_the_width() -> None:
    for option in (name for group, name in OPTIONS if group == "dataset"):
        for one in (composed(f"dataset={option}").dataset.get("box_filters") or {}).values():
            assert "max_width_share" not in one
