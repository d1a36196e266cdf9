"""Opening a model of any format that fibseg reads."""

from __future__ import annotations

from pathlib import Path

from fibseg.errors import FibsegError
from fibseg.models.trained import TrainedModel, load_model


def open_model(path: Path) -> TrainedModel:
    """Read a model file: fibseg's own, an ONNX file of `fibseg export`, a bioimage.io package.

    Raises:
        FibsegError: it is missing, damaged or of another program, or its libraries are.
    """
    # Their libraries are imported for their files alone.
    if path.suffix.lower() == ".onnx":
        from fibseg.models.foreign.onnx_file import open_onnx

        return open_onnx(path)
    if path.suffix.lower() == ".zip":
        from fibseg.models.foreign.package import open_package

        return open_package(path)
    if path.suffix.lower() == ".pt2":
        raise FibsegError(
            f"{path}: a program of PyTorch, for other programs; expected the run that it was "
            "exported from, or its .onnx or .zip file."
        )
    return load_model(path)
