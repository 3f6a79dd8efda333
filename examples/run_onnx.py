"""Detect with ONNX Runtime, NumPy and Pillow: letterbox, run, suppress, draw. Neither torch nor emsyolo is needed.

    python examples/run_onnx.py NETWORK.onnx IMAGE [OUT.png]

NETWORK.onnx is what `emsyolo export` writes for still images.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw

CONFIDENCE, IOU, GREY = 0.25, 0.6, 114


def letterbox(image: Image.Image, size_hw: tuple[int, int]) -> tuple[np.ndarray, float, tuple[int, int]]:
    """The image scaled into the middle of a grey frame, `[1, 3, H, W]` in [0, 1]; the scale; and where it begins."""
    height, width = size_hw
    scale = min(height / image.height, width / image.width)
    new = (round(image.width * scale), round(image.height * scale))
    left, top = (width - new[0]) // 2, (height - new[1]) // 2
    frame = Image.new("RGB", (width, height), (GREY, GREY, GREY))
    frame.paste(image.resize(new, Image.Resampling.BILINEAR), (left, top))
    return np.asarray(frame, dtype=np.float32).transpose(2, 0, 1)[None] / 255, scale, (left, top)


def suppressed(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    """The boxes that are kept, best first: none overlaps a better one by more than IOU."""
    kept: list[int] = []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in np.argsort(-scores):
        others = boxes[kept]
        sides = np.minimum(others[:, 2:], boxes[i, 2:]) - np.maximum(others[:, :2], boxes[i, :2])
        shared = np.clip(sides, 0, None).prod(axis=1)
        if (shared <= IOU * (area[kept] + area[i] - shared)).all():
            kept.append(int(i))
    return kept


def detect(network: str, picture: str) -> list[tuple[str, float, np.ndarray]]:
    """Name, score and box (x0, y0, x1, y1 in px of the image) of everything found."""
    session = onnxruntime.InferenceSession(network)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["emsyolo"])
    names, size_hw = facts["class_names"], facts["size_hw"]
    image = Image.open(picture).convert("RGB")
    frame, scale, offset = letterbox(image, size_hw)
    boxes, scores = (out[0] for out in session.run(["boxes", "scores"], {"frames": frame}))
    found = []
    for label, name in enumerate(names):
        (good,) = np.nonzero(scores[:, label] >= CONFIDENCE)
        for i in good[suppressed(boxes[good], scores[good, label])]:
            box = (boxes[i] - np.array([*offset, *offset])) / scale
            limit = [image.width, image.height] * 2
            found.append((name, float(scores[i, label]), np.clip(box, 0, limit)))
    return sorted(found, key=lambda item: -item[1])


if __name__ == "__main__":
    network, picture, out = [*sys.argv[1:], "found.png"][:3]
    image = Image.open(picture).convert("RGB")
    pen = ImageDraw.Draw(image)
    for name, score, box in detect(network, picture):
        print(f"{name} {score:.2f} at {box.round().astype(int).tolist()}")
        pen.rectangle(box.tolist(), outline="red")
        pen.text(tuple(box[:2]), f"{name} {score:.2f}", fill="red")
    image.save(out)
    print(f"written: {out}")
