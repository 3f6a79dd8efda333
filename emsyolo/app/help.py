"""What `--help` says of a task: every key with its default and explanation, and examples."""

from __future__ import annotations

import shutil
import textwrap

from emsyolo.app.keys import Key, explained

EXAMPLES = {
    "train": (
        ("data=FOLDER twin=true", "your own photographs, in whatever form their boxes are"),
        ("model=ems_resnet34 T=4", "a published network"),
        ("dataset=digits_dvs", "event streams, made on this machine"),
        ("trainer.patience=20", "end early where mAP does not rise"),
        ("resume=last", "go on with a training that was interrupted"),
        ("-m neuron.v_threshold=0.3,0.5,0.7", "a sweep, with a table and a picture at the end"),
    ),
    "evaluate": (
        ("", "the newest training, on its own data"),
        ("checkpoint=PATH T=8 read_out=[1,2,4]", "another T than in training, read out on the way"),
        ("report=true", "one HTML page with everything inside"),
        ("model=spiking_yolov3_fc T=64", "an ANN, converted and simulated"),
    ),
    "predict": (
        ("source=photo.jpg", "an image, with the newest training or weights that are included"),
        ("source=FOLDER checkpoint=zoo:cards", "a folder, with certain weights"),
        ("source=RECORDING.dat stream.stateful=true", "an event recording, as a stream"),
    ),
    "export": (
        ("format=onnx", "the newest training as ONNX"),
        ("checkpoint=PATH format=safetensors", "weights and config in one file"),
    ),
}
OF_TRAINING = ("optimizer", "trainer", "loss")  # groups that the other tasks have for experiments' sake
LEAST_WIDTH, MOST_WIDTH = 80, 120
KEY_WIDTH = 34
HYDRA = "-m: a run for each of several values | --cfg job: the config that a command means | --resolve: with its values"


def task_help(name: str, what: str, command: str) -> str:
    """The text.

    Args:
        name: of the task.
        what: it does.
        command: how it is called, such as `emsyolo train`.
    """
    width = min(max(shutil.get_terminal_size().columns, LEAST_WIDTH), MOST_WIDTH)
    lines = [f"{command} [KEY=VALUE ...]", f"{what[0].upper()}{what[1:]}.", "", "Examples"]
    lines += [f"  {f'{command} {words}'.strip():58}  # {said}" for words, said in EXAMPLES[name]]
    lines += ["", "Keys, each with its default. Those of a group change with the option that is chosen."]
    for key in explained(name):
        follows_another = key.default.startswith("${") and not key.text
        unread = name != "train" and key.path.partition(".")[0] in OF_TRAINING
        if not (follows_another or unread):
            lines += _described(key, width)
    return "\n".join([*lines, "", HYDRA])


def _described(key: Key, width: int) -> list[str]:
    """A key in one line or, where its explanation is long, several; a group stands apart, with its options."""
    head = f"{key.path}={key.default}"
    text = key.text
    if key.choices:
        text = "; ".join(part for part in (text, f"options: {', '.join(key.choices)}") if part)
    indent = " " * (KEY_WIDTH + 4)
    body = textwrap.wrap(text, width - len(indent)) or [""]
    start = f"  {head:{KEY_WIDTH}}  "
    lines = [f"{start}{body[0]}", *(indent + line for line in body[1:])]
    if len(head) > KEY_WIDTH and text:
        lines = [f"  {head}", *(indent + line for line in body)]
    return [*([""] if key.choices else []), *(line.rstrip() for line in lines)]
