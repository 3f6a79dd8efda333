"""Train on event streams, then follow a recording of an event camera, answer by answer.

python examples/watch_events.py [EPOCHS] [KEY=VALUE ...]
"""

import json
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from emsyolo.app import call

if __name__ == "__main__":
    epochs, more = (sys.argv[1] if len(sys.argv) > 1 else 1), sys.argv[2:]
    data_dir = next((Path(one.split("=", 1)[1]) for one in more if one.startswith("data_dir=")), Path("data"))
    trained = call("train", "dataset=digits_dvs", f"trainer.max_epochs={epochs}", *more)
    recording = min(data_dir.glob("digits_dvs/**/test/*.dat"))
    out = Path(tempfile.mkdtemp())
    call("predict", f"checkpoint={trained['checkpoint']}", f"source={recording}", f"out={out}", *more)
    said = json.loads((out / "predictions.json").read_text())
    names = {one["id"]: one["name"] for one in said["categories"]}
    found = {image: list(boxes) for image, boxes in groupby(said["annotations"], key=lambda one: one["image_id"])}
    for answer in said["images"][:10]:
        seen = [f"{names[one['category_id']]} ({one['score']:.2f})" for one in found.get(answer["id"], [])]
        print(f"{answer['t_us'] / 1e6:6.3f} s: {', '.join(seen) or 'nothing'}")
    print(f"latency p50 {said['speed']['latency_ms']['p50']:.1f} ms; the GIF lies in {out}")
