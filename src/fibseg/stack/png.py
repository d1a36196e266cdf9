"""A slice as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack.base import Stack, damage_named

_MODE_DTYPES = {
    "1": "bool",
    "L": "uint8",
    "P": "uint8",
    "I;16": "uint16",
    "I": "int32",
    "F": "float32",
}
"""Pillow's name of a grey mode -> type of its pixels."""

# Pillow takes large pictures for attacks; slices are large, and `base.check_stack` has a limit.
Image.MAX_IMAGE_PIXELS = None


def open_png(path: Path) -> Stack:
    """Open one slice; a palette image gives its indices, which is what painted labels are.

    Raises:
        FibsegError: the file is damaged, or a colour picture.
    """
    with damage_named(path), Image.open(path) as image:
        width, height = image.size
        mode = image.mode
    # Colours cannot be turned into grey values or labels without a guess.
    if mode not in _MODE_DTYPES:
        raise FibsegError(
            f"{path}: a picture of mode {mode}; expected a grey picture (save it without colours)."
        )

    def read(_: int) -> Pixels:
        with damage_named(path), Image.open(path) as image:
            return np.asarray(image)

    return Stack(str(path), (1, height, width), np.dtype(_MODE_DTYPES[mode]), read)
