"""A network that does not run in torch, in the place of one that does."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fibseg.arrays import UInt8
from fibseg.errors import FibsegError

Floats32 = NDArray[np.float32]
ArrayNetwork = Callable[[Floats32], Floats32]
"""(N, C, H, W) grey levels, 0 to 255 -> (N, K, H, W) probabilities of the classes."""

_SMALLEST = 1e-37
"""Stands for a probability of 0, whose logarithm would be infinite."""


_SHOWN: ContextVar[UInt8 | None] = ContextVar("shown_slice", default=None)


@contextmanager
def showing(channels: UInt8) -> Iterator[None]:
    """Let networks know the whole slice (C, H, W) of which they see windows meanwhile.

    Not an argument: between a window and a network that measures slices stand ensembles and
    decisions, which need not know of it.
    """
    token = _SHOWN.set(channels)
    try:
        yield
    finally:
        _SHOWN.reset(token)


def shown_slice() -> UInt8 | None:
    """The channels (C, H, W) of the slice that is shown; None outside of `showing`."""
    return _SHOWN.get()


class RunElsewhere(nn.Module):
    """A network of another library, which predictions use like one of torch.

    `stride` and `halo` are explained in `fibseg.models.kinds`; they are a choice, since nothing is
    known of the network.
    """

    stride = 32
    halo = 128

    def __init__(self, run: ArrayNetwork, digest: str):
        """Wrap the function `run`; `digest` is the SHA-256 of its file, in hexadecimal digits."""
        super().__init__()
        self._run = run
        # In the state, by whose hash an output knows its model.
        self.register_buffer("digest", torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8))

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) grey values in [0, 1] to logarithms of probabilities (N, K, H, W)."""
        levels = (images.float() * 255).contiguous().cpu().numpy()
        probabilities = torch.from_numpy(np.ascontiguousarray(self._run(levels), np.float32))
        return probabilities.to(images.device).clamp(min=_SMALLEST).log()


def export_library(name: str) -> ModuleType:
    """Import a library of the extra `export`.

    Raises:
        FibsegError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FibsegError(
            f"{name.partition('.')[0]} is not installed ({error}); pip install 'fibseg[export]'."
        ) from error


def first_line(error: Any) -> str:
    """The first line of an error of another library, cut to a sentence's part."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "input"), counted(2, "input")
    ('1 input', '2 inputs')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
