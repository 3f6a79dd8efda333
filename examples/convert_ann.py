"""Train a conventional detector with the quantised activation, and run it as a spiking network at several T.

python examples/convert_ann.py [EPOCHS] [KEY=VALUE ...]
"""

import sys

from emsyolo.app import call

if __name__ == "__main__":
    epochs, more = (sys.argv[1] if len(sys.argv) > 1 else 2), sys.argv[2:]
    ann = call("train", "model=spiking_yolov3_fc", f"trainer.max_epochs={epochs}", *more)
    print(f"the ANN: mAP@0.5 {ann['mAP50']:.3f}")
    for rule in ("plain", "signed"):
        snn = call("evaluate", f"checkpoint={ann['checkpoint']}", "T=[1,4,16]", f"convert={rule}", *more)
        for t, one in snn["by_T"].items():
            share = one["energy"]["ratio"]
            print(f"{rule:6s} T={t:3s} mAP@0.5 {one['mAP50']:.3f}, {share:.2f} of the ANN's energy")
