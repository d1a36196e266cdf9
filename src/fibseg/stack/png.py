"""A slice as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fibseg.errors import FibsegError
from fibseg.stack.base import Slice, Stack, damage_named

DTYPES = {"1": "bool", "L": "uint8", "P": "uint8", "I;16": "uint16", "I": "int32", "F": "float32"}
"""Pillow's name of a grey mode -> type of its pixels."""


Image.MAX_IMAGE_PIXELS = (
    None  # slices of a microscope are large; `base.checked` has a limit of its own
)


def open_png(path: Path) -> Stack:
    """One slice; a palette image gives its indices, which is what painted labels are."""
    with damage_named(path), Image.open(path) as image:
        (width, height), mode = image.size, image.mode
    if mode not in DTYPES:
        raise FibsegError(
            f"{path}: a picture of mode {mode}; expected a grey picture (save it without colours)."
        )

    def read(_: int) -> Slice:
        with damage_named(path), Image.open(path) as image:
            return np.asarray(image)

    return Stack(str(path), (1, height, width), np.dtype(DTYPES[mode]), read)
