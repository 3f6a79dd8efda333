"""A training run: the Lightning trainer with its callbacks and loggers, started or gone on with."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from emsyolo.dataset.datamodule import DataModule, order_of
from emsyolo.device import training_precision
from emsyolo.evaluator.coco import CocoEvaluator
from emsyolo.model.postprocess import Postprocess
from emsyolo.trainer.checkpoint import AtomicCheckpointIO, LastCheckpoint, position
from emsyolo.trainer.ema import Averaging
from emsyolo.trainer.history import History
from emsyolo.trainer.module import DetectionModule
from emsyolo.trainer.progress import Progress
from emsyolo.trainer.validate import Validate
from emsyolo.types import Batch
from emsyolo.weights import BEST, LAST

log = logging.getLogger(__name__)
# Lightning raises its level to INFO when it is imported, after a program's logging is set up: tips and advertisements.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


def make_trainer(
    *,
    run_dir: Path,
    hyperparameters: dict[str, Any],
    evaluator: Callable[[], CocoEvaluator],
    postprocess: Postprocess,
    ema_decay: float | None = 0.9999,
    ema_steps: float = 2000.0,
    checkpoint_minutes: float = 10.0,
    precision: str = "auto",
    compile: bool = False,
    carried: bool = False,
    best_by: str = "mAP",
    patience: int | None = None,
    check_val_every_n_epoch: int = 1,
    batches: Callable[[], Sequence[Batch]] = tuple,
    phase: str = "",
    **lightning: Any,
) -> Trainer:
    """The trainer of a run.

    Args:
        run_dir: where checkpoints, logs and curves go.
        hyperparameters: stored in every checkpoint under `hyper_parameters`; plain values only.
        evaluator: makes a fresh evaluator of the validation set.
        postprocess: for the validation.
        ema_decay: of the averaged weights, which are validated and stored; None: no averaging.
        ema_steps: over which that decay rises.
        checkpoint_minutes: `last.ckpt` is at most so old.
        precision: as Lightning's, or `auto`: bf16-mixed where the device computes in bfloat16, else 32-true.
        compile: the detector by `torch.compile`.
        carried: validate with the state carried over from the steps before a window, too.
        best_by: the figure of the validation whose best epoch is `best.ckpt`.
        patience: epochs without a better one after which the training ends early; None: it does not.
        check_val_every_n_epoch: how often it is validated; after the last epoch it is in any case.
        batches: gives the training batches that running statistics of averaged weights are measured on; none: they are
            averaged as well.
        phase: before the line of each epoch, for a training that is one of several.
        lightning: whatever `lightning.Trainer` takes: `max_epochs`, `devices`, `strategy`, `precision`, ...
    """
    checkpoints = run_dir / "checkpoints"
    callbacks: list[Callback] = [
        _Hyperparameters(hyperparameters),
        Validate(evaluator, postprocess, carried=carried),
        LearningRateMonitor(logging_interval="step"),
        Progress(phase),
    ]
    if ema_decay is not None:
        callbacks.insert(0, Averaging(ema_decay, ema_steps, batches))
    if compile:
        callbacks.append(_Compile())
    if patience is not None:
        validations = math.ceil(patience / check_val_every_n_epoch)
        callbacks.append(EarlyStopping(f"val/{best_by}", mode="max", patience=validations))
    callbacks += [
        _LastEpochToo(),
        ModelCheckpoint(
            dirpath=checkpoints,
            filename=Path(BEST).stem,
            monitor=f"val/{best_by}",
            mode="max",
            enable_version_counter=False,
            save_on_train_epoch_end=False,  # but after validation, before LastCheckpoint, which must know the best
        ),
        LastCheckpoint(checkpoints / LAST, checkpoint_minutes),
    ]
    return Trainer(
        default_root_dir=run_dir,
        callbacks=callbacks,
        logger=[TensorBoardLogger(run_dir, name="", version="tensorboard"), History(run_dir / "metrics.csv")],
        plugins=[AtomicCheckpointIO()],
        enable_model_summary=False,
        use_distributed_sampler=False,  # our sampler shards, and can start inside an epoch
        num_sanity_val_steps=0,
        check_val_every_n_epoch=check_val_every_n_epoch,
        precision=training_precision() if precision == "auto" else precision,  # type: ignore[arg-type]
        **lightning,
    )


def fit(trainer: Trainer, module: DetectionModule, data: DataModule, resume: Path | None) -> None:
    """Train, or go on training from a checkpoint: the result on a CPU is the same, bit for bit, as without the break.

    Raises:
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM, with `last.ckpt` written.
        ValueError: fewer validation images than processes.
    """
    if len(data.val) < trainer.world_size:
        raise ValueError(
            f"dataset {data.name} has {len(data.val)} validation images for {trainer.world_size} processes; expected "
            "at least one for each: lower trainer.devices or trainer.num_nodes"
        )
    data.pin_memory = trainer.strategy.root_device.type == "cuda"
    train = data.train_loader(trainer.global_rank, trainer.world_size, trainer.max_epochs)
    val = data.val_loader(rank=trainer.global_rank, world_size=trainer.world_size, lead=data.carried_steps)
    if resume is not None:
        # Lightning makes the first iterator before it tells the sampler of the epoch.
        state = torch.load(resume, map_location="cpu", weights_only=True)
        epoch, batches = position(state)
        order = order_of(train)
        order.set_epoch(epoch)
        order.go_on(batches if data.sequence else batches * data.batch_size)
        for logger in trainer.loggers:
            if isinstance(logger, History):
                logger.keep_until(state["global_step"])
    if trainer.strategy.root_device.type != "cpu" or trainer.precision == "32-true":
        # cuDNN, and oneDNN in float32, convolve it about a third faster; oneDNN in bfloat16 a fifth slower.
        module.to(memory_format=torch.channels_last)
    trainer.log_every_n_steps = min(trainer.log_every_n_steps, len(train))  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings():
            _quiet_others()
            trainer.fit(module, train, val, ckpt_path=resume, weights_only=True)
    except SystemExit:  # how Lightning ends after a KeyboardInterrupt
        raise KeyboardInterrupt from None
    if trainer.should_stop and trainer.current_epoch < (trainer.max_epochs or 0):
        log.info("stopped early: no better epoch within trainer.patience")


def _quiet_others() -> None:
    """Leave out what two libraries say of their own code, or of choices made here on purpose."""
    # Lightning 2.6 asks torch's pytree in a way that torch 2.14 calls deprecated; nothing here can change it.
    warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", module=r"lightning\..*\._pytree")
    # Lightning proposes as many workers as there are cores; a small data set is made faster than it is trained on, and
    # dataset.num_workers says so.
    warnings.filterwarnings("ignore", r"The '\w+' does not have many workers")


class _LastEpochToo(Callback):
    """Validates after the last epoch, too, whatever `check_val_every_n_epoch` is: it has the figures that count."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1


class _Compile(Callback):
    """Compiles the detector in place: its parameters keep their names."""

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.detector.compile()


class _Hyperparameters(Callback):
    """Writes what rebuilds the detector into every checkpoint."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["hyper_parameters"] = self.values
