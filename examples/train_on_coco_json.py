"""Train on your own images with boxes in a COCO JSON file, then look at what was learnt.

    python examples/train_on_coco_json.py [FOLDER] [EPOCHS]

FOLDER has train.json, val.json and the images that they name in train/ and val/; without one, a few scenes are made.
"""

import json
import sys
import tempfile
from pathlib import Path

from torchvision.io import write_png

from emsyolo.app import call
from emsyolo.dataset.digits import Digits


def made_up(folder: Path) -> Path:
    """Scenes of handwritten digits, written as images and a COCO JSON file."""
    for split, source in (("train", "train"), ("val", "test")):
        scenes = Digits(folder / "cache", split=source, limit=32)
        (folder / split).mkdir(parents=True)
        truth = scenes.truth()
        for i, image in enumerate(truth["images"]):
            image["file_name"] = f"{i}.png"
            write_png(scenes[i].frames[0], str(folder / split / image["file_name"]))
        truth["categories"] = [{"id": i, "name": name} for i, name in enumerate(scenes.class_names)]
        (folder / f"{split}.json").write_text(json.dumps(truth))
    return folder


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else made_up(Path(tempfile.mkdtemp()))
    metrics = call(
        "train", "dataset=coco", f"dataset.root={folder}",
        "dataset.train.images=train", "dataset.train.json=train.json",
        "dataset.val.images=val", "dataset.val.json=val.json",
        "dataset.size_hw=[96,128]", "dataset.anchors=auto", "model=ems_small", "model.width=0.125",
        f"trainer.max_epochs={sys.argv[2] if len(sys.argv) > 2 else 2}", f"runs_dir={folder / 'runs'}",
    )  # fmt: skip
    print(f"mAP@0.5 {metrics['mAP50']:.3f}; pictures beside {metrics['checkpoint']}")
