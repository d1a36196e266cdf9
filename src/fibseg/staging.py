"""Slices of a prediction that has begun: kept beside the output, so that it can be stopped, resumed and shared out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from fibseg.errors import FibsegError
from fibseg.runs import write_whole
from fibseg.stack import stack_writer

Pixels = NDArray[Any]


@dataclass(frozen=True)
class Output:
    """A file to write: its path, the type of its pixels, and what is told in it beside them."""

    path: Path
    dtype: str
    notes: dict[str, Any]


class Staging:
    """A folder with one file per finished slice; the outputs are made of them when all are there.

    Several processes may fill it, each with slices of its own.
    """

    def __init__(self, outputs: Sequence[Output], shape: tuple[int, int, int], voxel_size: list[float] | None):
        """`outputs` are the labels, then the layers; voxel size is (z, y, x) in nm."""
        self.outputs, self.shape, self.voxel_size = list(outputs), shape, voxel_size
        first = outputs[0].path
        self.folder = first.with_name(f".{first.name}.started")

    def begin(self, identity: dict[str, Any]) -> None:
        """Make the folder, or go on with one of the same identity.

        Raises:
            FibsegError: it was begun with another model, image or settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        told = self.folder / "identity.json"
        with FileLock(self.folder / ".lock"):
            if not told.exists():
                write_whole(told, json.dumps(identity))
                return
            before = json.loads(told.read_text(encoding="utf-8"))
        differs = sorted(key for key in identity if before.get(key) != identity[key])
        if differs:
            raise FibsegError(
                f"{self.outputs[0].path}: was begun with other {', '.join(differs)}; give another name, or delete "
                f"{self.folder} to begin anew."
            )

    @contextmanager
    def shard(self, number: int) -> Iterator[None]:
        """Keep other processes out of one share of the slices."""
        lock = FileLock(self.folder / f".shard-{number}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise FibsegError(f"{self.outputs[0].path}: another process labels these slices; wait for it.") from None
        try:
            yield
        finally:
            lock.release()

    def file(self, z: int) -> Path:
        """Of a slice."""
        return self.folder / f"{z:06d}.tif"

    def missing(self, positions: Sequence[int]) -> list[int]:
        """Those that are not finished."""
        return [z for z in positions if not self.file(z).exists()]

    def write(self, z: int, layers: Sequence[Pixels], outside: float) -> None:
        """Pixels (H, W) of each output, and the share of pixels outside the grey values of the training."""
        partial = self.folder / f".{z:06d}.{os.getpid()}.partial"
        try:
            with tifffile.TiffWriter(partial) as file:
                for k, pixels in enumerate(layers):
                    told = json.dumps({"outside": outside}) if k == 0 else ""
                    file.write(pixels, compression="zlib", contiguous=False, metadata=None, description=told)
            os.replace(partial, self.file(z))
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise FibsegError(f"{self.folder}: slice {z} could not be written ({error}); is the disk full?") from error

    def read(self, z: int) -> tuple[list[Pixels], float]:
        """What `write` wrote."""
        with tifffile.TiffFile(self.file(z)) as file:
            told = json.loads(file.pages.first.description)
            return [page.asarray() for page in file.pages], float(told["outside"])

    def assemble(self) -> list[float] | None:
        """Make the outputs of all slices and remove the folder; the shares outside, None while slices are missing.

        A slice that could not be read is no file here: `write` zeros for it first, where that is wanted.
        """
        depth = self.shape[0]
        if self.missing(range(depth)):
            return None
        with FileLock(self.folder / ".lock"):
            if not self.folder.joinpath("identity.json").exists():
                return None  # another process was faster
            return self._assemble(depth)

    def _assemble(self, depth: int) -> list[float]:
        outside = []
        try:
            with ExitStack() as files:
                writers = [
                    stack_writer(one.path, self.shape, one.dtype, self.voxel_size, one.notes) for one in self.outputs
                ]
                for writer in writers:
                    files.enter_context(writer)
                for z in range(depth):
                    layers, share = self.read(z)
                    outside.append(share)
                    for writer, pixels in zip(writers, layers, strict=True):
                        writer.write(pixels)
        except OSError as error:
            raise FibsegError(
                f"{self.outputs[0].path}: could not be written ({error}); is the disk full? All slices are kept in "
                f"{self.folder}, and the same command goes on."
            ) from error
        self.remove()
        return outside

    def remove(self) -> None:
        """Delete the folder and all slices in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def zeros(shape: tuple[int, int, int], outputs: Sequence[Output]) -> list[Pixels]:
    """Of one slice."""
    return [np.zeros(shape[1:], output.dtype) for output in outputs]
