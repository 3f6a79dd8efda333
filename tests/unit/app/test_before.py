"""What is drawn before a training, without a random number of it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from emsyolo.app.before import draw_data, first_batch
from emsyolo.app.build import data_of
from emsyolo.app.config import compose_config


def test_pictures_of_the_data_use_up_no_random_number(tmp_path: Path) -> None:
    data = data_of(compose_config("train", ["dataset=digits", f"data_dir={tmp_path}", "dataset.limit=6",
                                            "dataset.batch_size=4"]))  # fmt: skip
    data.train  # noqa: B018 - opened, as by a training
    torch.manual_seed(1)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]  # noqa: NPY002
    draw_data(tmp_path, data, epochs=3)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert (states[2] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert {"labels.png", "train_batch.png"} <= {path.name for path in tmp_path.iterdir()}
    shown, trained = first_batch(data, epochs=3), next(iter(data.train_loader(epochs=3)))
    assert torch.equal(shown.frames, trained.frames)
    assert [sample.name for sample in shown.samples] == [sample.name for sample in trained.samples]
