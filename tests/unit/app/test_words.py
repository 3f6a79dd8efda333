"""Words of a command line: habits of other tools, what is misspelt, what Hydra's grammar cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest

from emsyolo.app.command import config_message
from emsyolo.app.config import compose_config
from emsyolo.app.words import HABITS, known_keys, understood


def refused(task: str, *words: str) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is what is tested
        understood(task, words, f"python {task}.py")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("epochs=3", "trainer.max_epochs=3"),
        ("imgsz=640", "dataset.size_hw=[640,640]"),
        ("imgsz=[480,640]", "dataset.size_hw=[480,640]"),
        ("batch=16", "dataset.batch_size=16"),
        ("lr0=0.01", "optimizer.optimizer.lr=0.01"),
        ("device=cpu", "trainer.accelerator=cpu"),
        ("device=0", "trainer.accelerator=gpu trainer.devices=[0]"),
        ("device=0,1", "trainer=ddp trainer.accelerator=gpu trainer.devices=[0,1]"),
        ("workers=4", "dataset.num_workers=4"),
        ("patience=5", "trainer.patience=5"),
        ("+epochs=3", "trainer.max_epochs=3"),
        ("++time_step=4", "T=4"),
    ],
)
def test_habits_of_other_tools_are_told_what_to_type(word: str, meant: str) -> None:
    assert refused("train", "model=ems_small", word).endswith(f"did you mean: python train.py model=ems_small {meant}")


@pytest.mark.parametrize("task", list(HABITS))
def test_what_is_proposed_composes(task: str) -> None:
    source = ["source=a.jpg"] if task == "predict" else []
    for key, habit in HABITS[task].items():
        assert key not in known_keys(task), key
        overrides = habit("1")
        compose_config(task, [*source, "dataset=coco", "model=ems_small", *understood(task, overrides, task)])


def test_own_photographs_are_one_word() -> None:
    assert understood("train", ["data=my photos", "T=2"], "train") == [
        "experiment=small_photos", "dataset=auto", "dataset.root='\"my photos\"'", "T=2",
    ]  # fmt: skip
    assert understood("train", ["data=set/data.yaml", "experiment=cards"], "train") == [
        "dataset=auto", "dataset.root=set", "experiment=cards",
    ]  # fmt: skip
    assert understood("evaluate", ["data=set"], "evaluate") == ["dataset=auto", "dataset.root=set"]


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_a_key_that_nothing_reads_is_refused_with_any_sign(sign: str) -> None:
    assert refused("train", f"{sign}experimnt=cards").endswith("train has no key experimnt; did you mean experiment?")
    assert refused("train", f"{sign}nonsense.a=1").endswith("train has no key nonsense; --help lists all keys")


def test_words_without_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "If the shell made several words" in refused("predict", "source=a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.jpg").touch()
    assert refused("predict", "b.jpg") == "b.jpg: expected KEY=VALUE; did you mean source=b.jpg or data=b.jpg?"


@pytest.mark.parametrize(
    ("word", "proposed"),
    [
        ("dataset.root=/data (1)", """dataset.root='"/data (1)"'"""),
        ("source=a,b (c).jpg", """source='"a,b (c).jpg"'"""),
        ("dataset.root=größe: x", """dataset.root='"größe: x"'"""),
    ],
)
def test_a_word_that_cannot_be_read_is_explained(word: str, proposed: str) -> None:
    said = refused("predict", "T=2", "-m", word)
    assert said.startswith(f"{word} cannot be read")
    assert said.endswith(f"Type {proposed}")


def test_what_can_be_read_is_left_as_it_is() -> None:
    for words in (
        ["--multirun", "T=2", "+trainer.limit_train_batches=2", "~convert", 'dataset.root="/data (1)"'],
        ["--config-name", "train", "--info", "all", "-c", "job", "hydra.run.dir=/tmp/x", "weights=null"],
        ["hydra/launcher=joblib", "model@other=ems_small", "dataset.root='größe.jpg'"],
    ):
        assert understood("train", words, "train") == words


def test_options_come_first() -> None:
    words = ["T=2", "-m", "data=set", "seed=0,1", "--cfg", "job"]
    assert understood("train", words, "train") == [
        "-m", "--cfg", "job", "experiment=small_photos", "dataset=auto", "dataset.root=set", "T=2", "seed=0,1",
    ]  # fmt: skip


def test_a_group_has_no_null() -> None:
    assert refused("train", "convert=null").endswith(
        "expected an option of this group: delayed, none, plain, radix, signed, ternary"
    )


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trainer.epochs=3", "trainer.epochs: no such key; did you mean trainer.max_epochs?"),
        ("neuron.threshold=1", "neuron.threshold: no such key; did you mean neuron.v_threshold?"),
        ("dataset.rot=x", "dataset.rot: no such key; did you mean dataset.root?"),
        ("optimizer=adam", "optimizer=adam: expected one of adamw, sgd; did you mean adamw?"),
    ],
)
def test_hydra_does_not_advise_to_append(word: str, said: str) -> None:
    with pytest.raises(Exception) as error:  # noqa: PT011 - Hydra's, of several classes
        compose_config("train", [word])
    assert config_message(error.value, "train", [word]) == said
