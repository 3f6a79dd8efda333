"""The task of train.py."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from emsyolo.app.before import draw_data
from emsyolo.app.build import data_of, detector_of, fit_to_data, plain, resolved, threshold
from emsyolo.app.checkpoint import fit_to_weights, trained_detector, weights_in
from emsyolo.app.config import Asked, overlay, saved_config
from emsyolo.app.convert import calibration_frames
from emsyolo.app.folder import TWIN
from emsyolo.app.measure import Energy, measure
from emsyolo.app.passes import Direct
from emsyolo.app.runs import first_process, resumed_checkpoint
from emsyolo.app.sheets import Drawing
from emsyolo.app.twin import TWIN_OF, check_twin, twin_config
from emsyolo.convert.equalise import fit_scales
from emsyolo.dataset.datamodule import DataModule
from emsyolo.dataset.reduced import reducible
from emsyolo.deploy.inference import for_inference
from emsyolo.device import device_of, named_device
from emsyolo.evaluator.coco import CocoEvaluator
from emsyolo.layer.statistics import measure_statistics
from emsyolo.model.detector import Detector
from emsyolo.neuron.memory import set_memory
from emsyolo.report.card import model_card
from emsyolo.report.curves import training_curves
from emsyolo.report.history import read_history
from emsyolo.trainer.fit import fit
from emsyolo.trainer.module import DetectionModule, Teacher
from emsyolo.trainer.validate import best_figure
from emsyolo.weights import BEST, LAST
from emsyolo.weights.checkpoint import Weights, read_weights, save_weights
from emsyolo.weights.transfer import SCALES, transfer

SCALE_IMAGES = 64  # of the training set, from which the scales of new quantised activations are taken
STATISTICS_IMAGES = 64  # of the training set, on which running statistics are measured
log = logging.getLogger(__name__)


def train(asked: Asked) -> dict[str, Any]:
    """Train, measure the best weights, and write both into the run's folder.

    Returns:
        What is written to `metrics.json`; nothing in all processes but the first.
    """
    if not first_process():  # of several processes one speaks and writes
        logging.getLogger().setLevel(logging.WARNING)
    cfg, facts, resume, in_twin = _asked_or_resumed(asked)
    if not cfg.get("twin") or (resume is not None and not in_twin):
        return _train(asked, cfg, facts, resume, asked.out)
    check_twin(cfg)
    folder = asked.out / TWIN
    log.info("twin, 1 of 2: the same network with ReLU; run folder %s", folder)
    _train(asked, twin_config(cfg), facts, resume, folder, twin_of=plain(cfg))
    cfg.weights = str((folder / "checkpoints" / BEST).with_suffix(".safetensors"))
    log.info("twin, 2 of 2: the spiking network, from it")
    return _train(asked, cfg, facts, None, asked.out)


def _asked_or_resumed(asked: Asked) -> tuple[DictConfig, dict[str, Any], Path | None, bool]:
    """The config, the names of data set and model, the checkpoint to go on from, and whether that is a twin's."""
    cfg, names = asked.cfg, {"dataset": asked.cfg.dataset.name, "model": asked.choices["model"]}
    if cfg.resume is None:
        return cfg, names, None, False
    resume = resumed_checkpoint(Path(cfg.runs_dir), cfg.resume, names["dataset"], names["model"])
    weights = read_weights(resume)
    in_twin = TWIN_OF in weights.config
    # model=NAME and dataset=NAME of the run itself chose it; its settings are those it was begun with.
    chose = tuple(group for group in names if asked.choice(group) and names[group] == weights.config[group])
    saved = saved_config(weights, TWIN_OF if in_twin else "config")
    log.info("going on with %s", resume)
    return (
        overlay(saved, cfg, asked.overrides, leave=chose), {key: weights.config[key] for key in names}, resume, in_twin
    )  # fmt: skip


def _train(
    asked: Asked, cfg: DictConfig, facts: dict[str, Any], resume: Path | None, out: Path, twin_of: Any = None
) -> dict[str, Any]:
    """One training, measured and written into a folder; `twin_of` is the config of the network it is the twin of."""
    first, facts = first_process(), dict(facts)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    data = data_of(cfg)
    fit_to_data(cfg, data)
    if first:
        out.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(cfg, out / "config.yaml")
    start = None if cfg.weights is None or resume is not None else weights_in(cfg.weights)
    if start is not None:
        fit_to_weights(cfg, start)
    module = _module(cfg, data.class_names)
    if cfg.teacher is not None and data.sequence is not None:
        raise ValueError(f"teacher={cfg.teacher} and dataset.sequence: expected one of them; a teacher sees windows")
    if start is not None:
        _start_from(module, cfg, data, start)
    if first:
        _announce(cfg, data, module, out)

    hyperparameters = {"config": plain(cfg), "class_names": list(data.class_names), **facts}
    postprocess = instantiate(cfg.postprocess)
    truth = data.val.truth()
    best_by = best_figure(data)
    trainer = instantiate(cfg.trainer, _convert_="all")(
        run_dir=out,
        hyperparameters=hyperparameters if twin_of is None else {**hyperparameters, TWIN_OF: twin_of},
        evaluator=lambda: CocoEvaluator(truth, data.class_names, data.box_filter),
        postprocess=postprocess,
        carried=data.carried_steps > 0,
        best_by=best_by,
        batches=lambda: data.first_batches(STATISTICS_IMAGES),
        phase="" if twin_of is None else f"{TWIN}, ",
    )
    _check_processes(asked, trainer.world_size, twin_of is not None)
    if first and resume is None and cfg.get("pictures", True):
        draw_data(out, data, epochs=trainer.max_epochs, world_size=trainer.world_size)
    began = time.monotonic()
    fit(trainer, module, data, resume)
    facts["training_s"] = round(time.monotonic() - began, 1)
    if not trainer.is_global_zero:
        return {}
    return _finish(cfg, data, module, out, hyperparameters, facts, best_by)


def _check_processes(asked: Asked, processes: int, twin: bool) -> None:
    """Refuse a training in several processes of a twin, or inside a sweep, unless SLURM starts them for each run.

    Lightning's own processes would begin the sweep anew, and torchrun's lose each other where a run fails in one.
    """
    if processes > 1 and twin:
        raise ValueError(
            f"twin={asked.cfg.twin} and a training in {processes} processes; expected one process, or two commands: "
            "the twin by itself (neuron=relu), then weights=TWIN"
        )
    launcher = asked.choices.get("hydra/launcher")
    if processes > 1 and asked.sweep and launcher != "submitit_slurm":
        raise ValueError(
            f"-m with hydra/launcher={launcher} and a training in {processes} processes; expected one process, or "
            "hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=N, or, without -m, a command for each run: "
            "torchrun --nproc-per-node=N train.py ..."
        )


def _module(cfg: DictConfig, class_names: Sequence[str]) -> DetectionModule:
    detector = detector_of(cfg)
    set_memory(detector, cfg.memory)
    if cfg.get("trainable") is not None:
        detector.train_only(list(cfg.trainable))
    teacher = None if cfg.teacher is None else _teacher(cfg.teacher, detector, class_names)
    return DetectionModule(detector, instantiate(cfg.loss), instantiate(cfg.optimizer, _convert_="all"), teacher)


def _start_from(module: DetectionModule, cfg: DictConfig, data: DataModule, weights: Weights) -> None:
    """Fill in what `weights=` names, and say what of it fits.

    Running statistics are measured anew: those of a twin, of other data or of another T are far from this network's.
    """
    detector = module.detector
    thresholds = [threshold(one) for one in (cfg, saved_config(weights))]
    done = transfer(detector, weights, data.class_names, scale=thresholds[0] / thresholds[1])
    log.info(
        "weights: %s (model %s); %d of %d classes by name%s",
        weights.path, weights.config["model"], len(done.kept), len(data.class_names),
        f", re-initialised: {', '.join(done.new)}" if done.new else "",
    )  # fmt: skip
    if done.added:
        log.info("weights: new, since the file does not have them: %s", ", ".join(done.added))
    if SCALES in done.added:
        fit_scales(detector, calibration_frames(data, SCALE_IMAGES, device_of(detector)))
    measured = measure_statistics(detector, data.first_batches(STATISTICS_IMAGES), module.maps)
    if measured:
        log.info("weights: running statistics of %d normalisations measured on training images", measured)
    if done.scale != 1:
        log.info("weights: normalisations times %g (threshold %g here, %g there)", done.scale, *thresholds)


def _teacher(path: str, detector: Detector, class_names: Sequence[str]) -> Teacher:
    """The detector of `teacher=`, whose maps must mean the same as those of the one trained."""
    weights = weights_in(path)
    teacher = trained_detector(saved_config(weights), weights)
    theirs = tuple(weights.config["class_names"])
    if theirs != tuple(class_names):
        raise ValueError(f"teacher={path} knows the classes {list(theirs)}; expected {list(class_names)}")
    differs = detector.head.layout.differs(teacher.head.layout)
    if differs:
        raise ValueError(f"teacher={path} has {differs}")
    return Teacher(teacher)


def _announce(cfg: DictConfig, data: DataModule, module: DetectionModule, out: Path) -> None:
    parameters = sum(p.numel() for p in module.detector.parameters())
    if module.detector.frozen:
        trained = sum(p.numel() for p in module.detector.parameters() if p.requires_grad)
        log.info(
            "trainable=%s: %s of %s parameters are trained", list(cfg.trainable), f"{trained:,}", f"{parameters:,}"
        )
    log.info(
        "%s: %d training and %d validation images, %d classes, %dx%d px (HxW), batch %d",
        data.name, len(data.train), len(data.val), len(data.class_names), *data.size_hw, data.batch_size,
    )  # fmt: skip
    large, size = reducible(data.train, data.fit) if data.cache is None else (0, 0)
    if large > len(data.train) / 2:
        log.info(
            "%d training images are at least four times as wide and high as the network's input; dataset.cache=FOLDER "
            "decodes each only once, and keeps it reduced there (%.0f MB)", large, size / 1e6
        )  # fmt: skip
    log.info(
        "detector: %s parameters, T=%d; seed %d; run folder %s", f"{parameters:,}", module.detector.T, cfg.seed, out
    )


def _finish(
    cfg: DictConfig,
    data: DataModule,
    module: DetectionModule,
    out: Path,
    hyperparameters: dict[str, Any],
    facts: dict[str, Any],
    best_by: str,
) -> dict[str, Any]:
    """Measure the best checkpoint, write it as safetensors with a model card, and draw the curves."""
    best = out / "checkpoints" / BEST
    if not best.exists():  # a training cut short before its first validation
        best = out / "checkpoints" / LAST
    detector = module.detector
    if best.exists():
        detector = trained_detector(cfg, read_weights(best))  # the module's parameters may be sharded
    shared = best.with_suffix(".safetensors")
    save_weights(shared, detector, hyperparameters)
    if (out / "metrics.csv").exists():
        training_curves(out / "training.png", out / "metrics.csv", f"val/{best_by}")
        found = read_history(out / "metrics.csv").best(f"val/{best_by}")
        if found is not None:
            log.info("epoch %d is best (%s %.4f), written: %s", found[0] + 1, best_by, found[1], best)
    metrics = measure(
        Direct(for_inference(detector, named_device("auto"))),
        data,
        instantiate(cfg.postprocess),
        out=out,
        facts={"checkpoint": str(shared), **facts},
        energy=Energy(**cfg.energy),
        drawing=Drawing(pictures=cfg.get("pictures", True)),
        speed_s=cfg.get("speed_s", 3.0),
    )
    log.info("written: %s", model_card(shared, {**hyperparameters, "config": resolved(cfg)}, metrics))
    return metrics
