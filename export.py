"""Write a checkpoint as ONNX, NIR or safetensors: `python export.py checkpoint=PATH format=onnx`."""

from emsyolo.app.command import script

if __name__ == "__main__":
    script("export")
