"""Models that leave: ONNX files, packages of bioimage.io, programs of PyTorch.

Here: writing them, each checked by the other side's own library before it takes its name. Not
here: reading such files (`fibseg.models.foreign`).
"""
