"""A slice as PNG."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack.base import COLOUR_LABELS, Stack, check_shape
from fibseg.stack.failures import damage_named

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_GREY = 0
_PALETTE = 3
"""Types of colour in the header of a PNG (ISO/IEC 15948, 11.2.2)."""

_COLOUR_NAMES = {2: "RGB", 4: "grey with transparency", 6: "RGB with transparency"}

# Pillow takes large pictures for attacks; slices are large, and `base.check_stack` has a limit.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class _PngHeader:
    """The first chunk of a PNG: width and height in pixels, bits of a sample, type of colour."""

    width: int
    height: int
    bits: int
    colour: int

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the pixels."""
        if self.bits == 1 and self.colour == _GREY:
            return np.dtype(np.bool_)
        return np.dtype(np.uint16 if self.bits == 16 else np.uint8)


def open_png(path: Path) -> Stack:
    """Open one slice; a palette image gives its indices, which is what painted labels are.

    Raises:
        FibsegError: the file is damaged, or a colour picture.
    """
    header = _read_header(path)
    # Colours cannot be turned into grey values or labels without a guess.
    if header.colour not in (_GREY, _PALETTE):
        raise FibsegError(
            f"{path}: a colour picture ({_COLOUR_NAMES.get(header.colour, header.colour)}); "
            f"expected a grey picture, or {COLOUR_LABELS}."
        )

    def read(_: int) -> Pixels:
        with damage_named(path):
            _check_sums(path)
            with Image.open(path, formats=["PNG"]) as image:
                pixels = np.asarray(image)
            if header.colour == _GREY and header.bits in (2, 4):
                # Pillow spreads the values of 2 and 4 bits over 0 to 255.
                pixels = pixels // np.uint8(255 // (2**header.bits - 1))
            return pixels.astype(header.dtype, copy=False)

    palette = _read_palette(path) if header.colour == _PALETTE else b""
    shape = (1, header.height, header.width)
    return Stack(str(path), shape, header.dtype, read, palette=palette)


def open_colour_png(path: Path) -> Stack:
    """Open one slice of colours, palette or grey values as 0xRRGGBB, uint32.

    A pixel that is transparent is 0, the colour of nothing.

    Raises:
        FibsegError: the file is damaged, or its colours have 16 bits.
    """
    header = _read_header(path)
    if header.bits == 16:
        raise FibsegError(f"{path}: colours of 16 bits; expected 8 bits for red, green and blue.")

    def read(_: int) -> Pixels:
        with damage_named(path):
            _check_sums(path)
            with Image.open(path, formats=["PNG"]) as image:
                return colour_numbers(str(path), np.asarray(image.convert("RGBA")))

    return Stack(str(path), (1, header.height, header.width), np.dtype(np.uint32), read)


def colour_numbers(name: str, colours: Pixels) -> Pixels:
    """Turn (H, W, 3 or 4) bytes of red, green, blue and opacity into (H, W) of 0xRRGGBB.

    >>> [hex(value) for value in colour_numbers("x", np.array([[[250, 50, 83]]], np.uint8))[0]]
    ['0xfa3253']

    Raises:
        FibsegError: a pixel is half transparent.
    """
    red, green, blue = (colours[..., channel].astype(np.uint32) for channel in range(3))
    numbers = (red << 16) | (green << 8) | blue
    if colours.shape[-1] == 3:
        return numbers
    opacity = colours[..., 3]
    if ((opacity > 0) & (opacity < 255)).any():
        raise FibsegError(
            f"{name}: half transparent pixels, whose colour is mixed; expected one colour for each "
            "class (save it without transparency or smooth edges)."
        )
    return np.where(opacity == 0, np.uint32(0), numbers)


def _read_header(path: Path) -> _PngHeader:
    """Read the header, which a picture larger than the limit does not pass."""
    with damage_named(path), path.open("rb") as file:
        start = file.read(33)
        if start and not start.startswith(_SIGNATURE[:4]):
            # Whatever Pillow would make of the content.
            raise FibsegError(
                f"{path}: cannot be read, the file is damaged, cut off or no image of the kind "
                "PNG; name a file by its format."
            )
        if start[:8] != _SIGNATURE or start[12:16] != b"IHDR":
            raise ValueError("it does not begin as a PNG")
        if zlib.crc32(start[12:29]) != int.from_bytes(start[29:33], "big"):
            raise ValueError("the checksum of its header is wrong")
        header = _PngHeader(*struct.unpack(">IIBB", start[16:26]))
    # Before Pillow unpacks a picture that may be a thousand times larger than its file.
    check_shape(str(path), (1, header.height, header.width), header.dtype)
    return header


def _read_palette(path: Path) -> bytes:
    """Read the colours of the indices; empty where index i is the grey value i."""
    with damage_named(path), Image.open(path, formats=["PNG"]) as image:
        palette = bytes(image.getpalette("RGB") or [])
    ramp = bytes(value for index in range(len(palette) // 3) for value in [index] * 3)
    return b"" if palette == ramp else palette


def _check_sums(path: Path) -> None:
    """Raise a ValueError unless the checksum of every chunk is right.

    Pillow checks those of few chunks, and takes pixels from a damaged one.
    """
    content = memoryview(path.read_bytes())
    place = len(_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length = int.from_bytes(content[place : place + 4], "big")
        end = place + 8 + length
        kind = bytes(content[place + 4 : place + 8])
        if end + 4 > len(content):
            raise ValueError("it ends within a chunk")
        if kind == b"acTL":
            raise FibsegError(f"{path}: several pictures in a PNG; expected a single slice.")
        if zlib.crc32(content[place + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            raise ValueError("the checksum of a chunk is wrong")
        place = end + 4
