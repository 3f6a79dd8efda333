"""Run a conventional detector as a spiking network at several T: yours, or one trained here first.

    python examples/convert_ann.py [CHECKPOINT | EPOCHS] [KEY=VALUE ...]

CHECKPOINT is a `.ckpt` or `.safetensors` of train.py, such as model=ann_small, or darknet's `.weights`; without one, a
detector with the quantised activation is trained.
"""

import sys

from emsyolo.app import call

if __name__ == "__main__":
    first, more = (sys.argv[1] if len(sys.argv) > 1 else "2"), sys.argv[2:]
    checkpoint = first
    if first.isdigit():
        ann = call("train", "model=spiking_yolov3_fc", f"trainer.max_epochs={first}", *more)
        checkpoint = ann["checkpoint"]
    for rule in ("plain", "signed"):
        snn = call("evaluate", f"checkpoint={checkpoint}", "T=16", "read_out=[1,4]", f"convert={rule}", *more)
        for t, one in snn["by_T"].items():
            share = one["energy"]["ratio"]
            print(f"{rule:6s} T={t:3s} mAP@0.5 {one['mAP50']:.3f}, {share:.2f} of the ANN's energy")
    print(f"the ANN: mAP@0.5 {snn['ann']['mAP50']:.3f}")
