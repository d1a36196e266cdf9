"""Slices of a prediction that has begun: kept beside the output, so that it can be stopped, resumed and shared out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from fibseg.errors import FibsegError
from fibseg.files import remove_partials, replacing, write_whole
from fibseg.stack import StackHeader, StackWriter

Pixels = NDArray[Any]


@dataclass(frozen=True)
class Output:
    """A file to write: its path, the type of its pixels, and what is told in it beside them."""

    path: Path
    dtype: str
    notes: dict[str, Any]


@dataclass(frozen=True)
class KeptSlice:
    """What is told of a finished slice: share of pixels outside the training's grey values, a digest of the image.

    `zeroed`: it could not be read, and 0 stands for its labels.
    """

    outside: float
    digest: str
    zeroed: bool


class Staging:
    """A folder with one file per finished slice; the outputs are made of them when all are there.

    Several processes may fill it, each with slices of its own. What is damaged is labelled again.
    """

    def __init__(
        self, outputs: Sequence[Output], shape: tuple[int, int, int], voxel_size: list[float] | None
    ):
        """`outputs` are the labels, then the layers; voxel size is (z, y, x) in nm."""
        self.outputs, self.shape, self.voxel_size = list(outputs), shape, voxel_size
        first = outputs[0].path
        self.folder = first.with_name(f".{first.name}.started")
        self._told = self.folder / "identity.json"

    def begin(self, identity: dict[str, Any], digest_of: Callable[[int], str | None]) -> None:
        """Make the folder, or go on with one of the same identity and image.

        Args:
            identity: what the labels depend on, beside the image.
            digest_of: of slice z of the image; None where it cannot be read.

        Raises:
            FibsegError: it was begun with another model, image or settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            if not self._told.exists():
                for path in self.folder.glob("[0-9]*.tif"):
                    path.unlink()  # nobody knows of what model
                write_whole(self._told, json.dumps(identity))
                return
            before = json.loads(self._told.read_text(encoding="utf-8"))
        differs = sorted(key for key in identity if before.get(key) != identity[key])
        if not differs and not same_image(
            {z: one.digest for z, one in self._sound().items()}, digest_of
        ):
            differs = ["images"]
        if differs:
            raise FibsegError(
                f"{self.outputs[0].path}: was begun with other {', '.join(differs)}; give another name, or delete "
                f"{self.folder} to begin anew."
            )

    @contextmanager
    def shard(self, number: int, count: int) -> Iterator[None]:
        """Keep other processes out of one of `count` shares of the slices.

        Raises:
            FibsegError: a process is in this share, or in one of another count, which overlaps.
        """
        name = self.outputs[0].path
        own = FileLock(self.folder / f".shard-{number}-of-{count}.lock", timeout=0)
        with FileLock(
            self.folder / ".shards.lock"
        ):  # one looks at a time, so that none sees another one's look
            for other in sorted(self.folder.glob(".shard-*.lock")):
                parts = int(other.stem.split("-")[-1])
                if parts != count and not is_lock_free(other):
                    raise FibsegError(
                        f"{name}: is labelled in {parts} parts now, not in {count}; wait for them."
                    )
            try:
                own.acquire()
            except Timeout:
                raise FibsegError(
                    f"{name}: another process labels these slices; wait for it."
                ) from None
        try:
            yield
        finally:
            own.release()

    def file(self, z: int) -> Path:
        """Of a slice."""
        return self.folder / f"{z:06d}.tif"

    def kept(self) -> dict[int, KeptSlice]:
        """What is told of every finished slice; files that are damaged go."""
        found = {}
        for path in sorted(self.folder.glob("[0-9]*.tif")):
            try:
                with tifffile.TiffFile(path) as file:
                    told = json.loads(file.pages.first.description)
                    whole = len(file.pages) == len(self.outputs)
                if whole:
                    found[int(path.stem)] = KeptSlice(
                        float(told["outside"]), str(told["digest"]), bool(told["zeroed"])
                    )
                    continue
            except (OSError, ValueError, KeyError, IndexError):
                pass
            path.unlink(missing_ok=True)
        return found

    def _sound(self) -> dict[int, KeptSlice]:
        return {z: one for z, one in self.kept().items() if not one.zeroed}

    def missing(self, positions: Sequence[int]) -> list[int]:
        """Those that are not finished; slices that could not be read are tried again."""
        done = self._sound()
        return [z for z in positions if z not in done]

    def write(self, z: int, layers: Sequence[Pixels], kept: KeptSlice) -> None:
        """Pixels (H, W) of each output, and what is told of the slice."""
        try:
            with (
                replacing(self.file(z), shared=True) as partial,
                tifffile.TiffWriter(partial) as file,
            ):
                for k, pixels in enumerate(layers):
                    told = json.dumps(asdict(kept)) if k == 0 else ""
                    file.write(
                        pixels,
                        compression="zlib",
                        contiguous=False,
                        metadata=None,
                        description=told,
                    )
        except OSError as error:
            raise FibsegError(
                f"{self.folder}: slice {z} could not be written ({error}); is the disk full?"
            ) from error

    def assemble(self) -> dict[int, KeptSlice] | None:
        """Make the outputs of all slices and remove the folder; what is told of them, None while slices are missing.

        Another process may have been faster: then there is nothing to tell, {}.
        """
        try:
            with FileLock(self.folder / ".lock"):
                if not self._told.exists():
                    return {}
                kept = self.kept()
                if len(kept) < self.shape[0]:
                    return None
                self._assemble(kept)
                self.remove()
                return kept
        except FileNotFoundError:
            if self.folder.exists():
                raise
            return {}

    def _assemble(self, kept: dict[int, KeptSlice]) -> None:
        sound = {z: one.digest for z, one in kept.items() if not one.zeroed}
        zeroed = [z for z, one in kept.items() if one.zeroed]
        more = {"pixels": {z: sound[z] for z in some(sorted(sound))}, "zeroed": zeroed}
        try:
            for output in self.outputs:
                remove_partials(output.path)
            with ExitStack() as files:
                writers = [
                    StackWriter(
                        one.path,
                        StackHeader(self.shape, one.dtype, self.voxel_size, one.notes | more),
                    )
                    for one in self.outputs
                ]
                for writer in writers:
                    files.enter_context(writer)
                for z in range(self.shape[0]):
                    for writer, pixels in zip(writers, self._pixels(z), strict=True):
                        writer.write(pixels)
        except OSError as error:
            raise FibsegError(
                f"{self.outputs[0].path}: could not be written ({error}); is the disk full? All slices are kept in "
                f"{self.folder}, and the same command goes on."
            ) from error

    def _pixels(self, z: int) -> list[Pixels]:
        path = self.file(z)
        try:
            with tifffile.TiffFile(path) as file:
                return [page.asarray() for page in file.pages]
        except Exception as error:  # whatever a decoder raises on bytes that are none of its own
            path.unlink(missing_ok=True)
            raise FibsegError(
                f"{path}: damaged ({error}); the same command labels this slice again."
            ) from error

    def remove(self) -> None:
        """Delete the folder and all slices in it; what a kill leaves of it has another name."""
        gone = self.folder.with_name(f"{self.folder.name}.{os.getpid()}.partial")
        with suppress(OSError):
            os.replace(self.folder, gone)
        shutil.rmtree(gone, ignore_errors=True)


def is_lock_free(lock: Path) -> bool:
    """Whether no process holds a lock."""
    try:
        with FileLock(lock, timeout=0):
            return True
    except Timeout:
        return False


def some(positions: Sequence[int]) -> list[int]:
    """First, middle and last."""
    return (
        sorted({positions[0], positions[len(positions) // 2], positions[-1]}) if positions else []
    )


def same_image(digests: dict[int, str], digest_of: Callable[[int], str | None]) -> bool:
    """Whether some slices of an image are those whose digests were kept; one that cannot be read now says nothing."""
    return all(digest_of(z) in (None, digests[z]) for z in some(sorted(digests)))


def zero_pixels(shape: tuple[int, int, int], outputs: Sequence[Output]) -> list[Pixels]:
    """Of one slice."""
    return [np.zeros(shape[1:], output.dtype) for output in outputs]
