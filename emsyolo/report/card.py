"""The model card: what someone who gets a file of weights must know, in Markdown beside it."""

from __future__ import annotations

import datetime
import html
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from emsyolo.io import written_whole
from emsyolo.report.table import NOTHING, count, decimal, percent

PACKAGES = ("emsyolo", "torch", "spikingjelly")
UNKNOWN = "not stated"


def model_card(
    weights: Path, about: Mapping[str, Any], metrics: Mapping[str, Any] | None, source: Path | None = None
) -> Path:
    """Write `NAME.md` beside a file of weights, or `NAME.onnx.md` beside an export of them.

    Args:
        weights: the file.
        about: what is stored with the weights: `config` of the training, resolved; `class_names`, `model`;
            `checkpoint`, what to type for it, where that is not the file's name.
        metrics: of `metrics.json`, measured with these weights; None: not measured.
        source: the weights that the file was exported from; None: it is the weights.

    Raises:
        OSError: the card could not be written.
    """
    cfg = about["config"]
    parts = [
        f"# {about['model']} on {cfg['dataset']['name']}",
        f"A spiking object detector in `{weights.name}`, trained with emsyolo."
        if _spikes(cfg)
        else f"An object detector without spikes in `{weights.name}`, trained with emsyolo.",
        _code(f"emsyolo predict checkpoint={about.get('checkpoint', weights.name)} source=IMAGE_OR_FOLDER")
        if source is None
        else f"Exported from `{source.name}`; the figures are of that.",
        "## Data",
        _rows(_data(cfg, about)),
        "## Recipe",
        _rows(_recipe(cfg)),
        "## Figures",
        *(["Not measured."] if metrics is None else _figures(metrics)),
        "## Made with",
        _rows([("commit", commit()), *((name, version(name)) for name in PACKAGES),
               ("Python", platform.python_version()), ("date", datetime.date.today().isoformat())]),
    ]  # fmt: skip
    path = weights.with_suffix(".md") if source is None else weights.with_name(f"{weights.name}.md")
    with written_whole(path) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _spikes(cfg: Mapping[str, Any]) -> bool:
    return "v_threshold" in (cfg["model"].get("neuron") or {})


def _data(cfg: Mapping[str, Any], about: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = about["class_names"]
    shown = ", ".join(map(plain_name, names[:20])) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    data = cfg["dataset"]
    return [
        ("data set", str(data["name"])),
        ("licence of the data", str(data.get("licence") or UNKNOWN)),
        ("classes", f"{len(names)}: {shown}"),
        ("input", f"{data['size_hw'][0]}x{data['size_hw'][1]} px (height x width)"),
    ]


def _recipe(cfg: Mapping[str, Any]) -> list[tuple[str, str]]:
    optimizer, trainer, data = cfg["optimizer"], cfg["trainer"], cfg["dataset"]
    neuron = cfg["model"].get("neuron") or {}
    augment = [name for name, value in (data.get("augment") or {}).items() if value and value.get("p", 1.0)]
    return [
        ("time steps in training", str(cfg["model"].get("T", cfg["T"]))),
        ("neuron", _settings(neuron)),
        ("depth, width", f"{cfg['model'].get('depth', NOTHING)}, {cfg['model'].get('width', NOTHING)}"),
        ("epochs, batch", f"{trainer['max_epochs']}, {data['batch_size']}"),
        ("optimiser", f"{_settings(optimizer['optimizer'])}; weight decay {optimizer['weight_decay']}, "
                      f"{optimizer['schedule']}"),
        ("average of the weights", f"decay {trainer['ema_decay']}" if trainer["ema_decay"] is not None else "none"),
        ("augmentation", ", ".join(augment) or "none"),
        ("started from", "its twin with ReLU" if cfg.get("twin") else str(cfg.get("weights") or "nothing")),
        ("teacher", str(cfg.get("teacher") or "none")),
        ("seed", str(cfg["seed"])),
    ]  # fmt: skip


def _settings(one: Mapping[str, Any]) -> str:
    name = str(one.get("_target_", NOTHING)).rpartition(".")[2]
    values = ", ".join(f"{key} {value}" for key, value in one.items() if not key.startswith("_") and key != "backend")
    return f"{name} ({values})" if values else name


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    energy = metrics["energy"]
    all_macs = sum(layer["macs"] for layer in metrics["layers"])
    impure = metrics["impure"]
    impure_macs = sum(layer["macs"] for layer in impure)
    parts = [
        f"On {metrics['images']} validation images, COCO's measure.",
        _rows([
            ("mAP@0.5", decimal(metrics["mAP50"])),
            ("mAP@0.5:0.95", decimal(metrics["mAP"])),
            ("T", str(metrics["T"])),
            ("parameters", count(metrics["parameters"])),
            ("firing rate", percent(metrics["firing_rate"])),
            ("energy per image", f"{decimal(energy['snn_mJ'])} mJ, {percent(energy['ratio'])} of the same ANN's"),
            ("spike purity", f"{len(metrics['layers']) - len(impure)} of {len(metrics['layers'])} convolutions are fed "
             f"by 0 and 1 only; the others have {percent(impure_macs / max(1, all_macs))} of the MACs: "
             f"{', '.join(layer['name'] for layer in impure) or 'none'}"),
        ]),
    ]  # fmt: skip
    if "by_T" in metrics:
        rows = [(t, decimal(value["mAP50"]), decimal(value["mAP"])) for t, value in metrics["by_T"].items()]
        parts += ["Read out after T steps:", markdown_table(("T", "mAP@0.5", "mAP@0.5:0.95"), rows)]
    parts.append(
        markdown_table(
            ("class", "mAP@0.5:0.95"), [(plain_name(n), decimal(v)) for n, v in metrics["per_class"].items()]
        )
    )
    return parts


def plain_name(text: str) -> str:
    """A name of a class, which may be a stranger's, without a meaning in Markdown or HTML."""
    return re.sub(r"([\\`*\[\]])", r"\\\1", html.escape(text, quote=False))


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in rows)


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; what would end a cell is escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _code(line: str) -> str:
    return f"```\n{line}\n```"


def commit() -> str:
    """Of the clone that this package lies in."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*"],
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown (not run from a clone)"
    return done.stdout.strip()
