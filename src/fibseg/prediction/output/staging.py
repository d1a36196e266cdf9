"""Finished slices of a prediction, kept beside its output until all of them are there.

So a prediction can be stopped, resumed, and shared out over several processes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import tifffile

from fibseg.arrays import Pixels
from fibseg.errors import DiskFullError, FibsegError
from fibseg.files import partial_path, remove_partials, replacing, write_whole
from fibseg.models.objects import ObjectRules
from fibseg.prediction.instances.linking import Links, linked_slices
from fibseg.prediction.output.changes import differences
from fibseg.prediction.output.shards import Shard, lock_of_shard, locked, write_errors_named
from fibseg.stack import StackHeader, StackWriter, open_stack


@dataclass(frozen=True)
class Output:
    """A stack that a prediction writes.

    Attributes:
        path: of the TIFF or Zarr store.
        dtype: NumPy's name for the type of its pixels.
        notes: facts that are written into it beside the pixels.
        rules: by which the objects of its slices are linked along z; None where it holds none.
    """

    path: Path
    dtype: str
    notes: dict[str, Any]
    rules: ObjectRules | None = None


@dataclass(frozen=True)
class KeptSlice:
    """What the file of a finished slice says beside its pixels.

    Attributes:
        outside: share of its pixels outside the grey range of the training.
        digest: of the pixels of the image.
        zeroed: whether the slice could not be read, so that its labels are 0.
    """

    outside: float
    digest: str
    zeroed: bool


class Staging:
    """A folder with one file per finished slice; the outputs are made of them when all are there.

    Several processes may fill it, each with slices of its own. A damaged file counts as missing, so
    that its slice is labelled again.

    Attributes:
        outputs: the labels first, then the layers, objects last.
        shape: (Z, H, W) of the outputs.
        voxel_size: (z, y, x) in nm; None where it is unknown.
        folder: holds the slices, and is removed with the last of them.
    """

    def __init__(
        self, outputs: Sequence[Output], shape: tuple[int, int, int], voxel_size: list[float] | None
    ):
        """Nothing is written before `begin`."""
        self.outputs = list(outputs)
        self.shape = shape
        self.voxel_size = voxel_size
        first = outputs[0].path
        self.folder = first.with_name(f".{first.name}.started")
        self._identity_file = self.folder / "identity.json"

    def begin(self, identity: dict[str, Any]) -> None:
        """Make the folder, or resume one of the same identity.

        Args:
            identity: what the labels depend on beside the image.

        Raises:
            FibsegError: the folder was begun with another model or setting, or cannot be written.
        """
        with write_errors_named(self.folder):
            # Of a process that was killed while it removed the folder.
            remove_partials(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
        # Without the lock, a second process would take the first one's slices for a kill's remains.
        with locked(self.folder / ".lock"):
            if not self._identity_file.exists():
                # A kill during `remove` leaves slices of an unknown model.
                self.forget(int(path.stem) for path in self._slice_files())
                with write_errors_named(self._identity_file):
                    write_whole(self._identity_file, json.dumps(identity))
                return
            before = json.loads(self._identity_file.read_text(encoding="utf-8"))
        differing = differences(before, identity)
        if differing:
            self.refuse(", ".join(differing))

    def refuse(self, differing: str) -> NoReturn:
        """Raise a FibsegError that says what the folder was begun with."""
        raise FibsegError(
            f"{self.outputs[0].path}: was begun with other {differing}; "
            f"give another name, or delete {self.folder} to begin anew."
        )

    def forget(self, positions: Iterable[int]) -> None:
        """Delete slices that are kept, so that they are labelled again."""
        for z in positions:
            self.file(z).unlink(missing_ok=True)

    def shard(self, number: int, count: int) -> AbstractContextManager[None]:
        """Keep other processes out of one of `count` shares of the slices.

        Raises:
            FibsegError: a process is in this share, or in one of another count, which overlaps.
        """
        return lock_of_shard(self.folder, Shard(number, count), self.outputs[0].path)

    def file(self, z: int) -> Path:
        """Where the pixels of a slice are kept: a TIFF with one page per output."""
        return self.folder / f"{z:06d}.tif"

    def _slice_files(self) -> list[Path]:
        """Files of all slices, in order."""
        return sorted(self.folder.glob("[0-9]*.tif"))

    def kept(self) -> dict[int, KeptSlice]:
        """The finished slices by position; damaged files are deleted."""
        slices = {}
        for path in self._slice_files():
            try:
                with tifffile.TiffFile(path) as file:
                    notes = json.loads(file.pages.first.description)
                    is_whole = len(file.pages) == len(self.outputs)
                if is_whole:
                    slices[int(path.stem)] = KeptSlice(
                        float(notes["outside"]), str(notes["digest"]), bool(notes["zeroed"])
                    )
                    continue
            # What tifffile and json raise on a file that was cut off.
            except (OSError, ValueError, KeyError, IndexError):
                pass
            path.unlink(missing_ok=True)
        return slices

    def digests(self) -> dict[int, str]:
        """Digests of the images of the finished slices by position; none of those that are 0."""
        return _digests(self.kept())

    def missing(self, positions: Sequence[int]) -> list[int]:
        """Those slices that are not finished; what could not be read is to be tried again."""
        finished = self.digests()
        return [z for z in positions if z not in finished]

    def write(self, z: int, layers: Sequence[Pixels], kept: KeptSlice) -> None:
        """Keep the finished slice z: its pixels (H, W) in each output, and what is noted of it.

        Raises:
            FibsegError: the file cannot be written.
        """
        try:
            with (
                replacing(self.file(z), shared=True) as partial,
                tifffile.TiffWriter(partial) as file,
            ):
                for k, pixels in enumerate(layers):
                    file.write(
                        pixels,
                        compression="zlib",
                        contiguous=False,
                        metadata=None,
                        description=json.dumps(asdict(kept)) if k == 0 else "",
                    )
        except DiskFullError:
            raise
        except OSError as error:
            raise FibsegError(
                f"{self.folder}: slice {z} could not be written ({error})."
            ) from error

    def restore(self, slices: Mapping[int, KeptSlice]) -> None:
        """Take finished slices back from the outputs, which an earlier prediction made.

        Args:
            slices: position -> what was noted of the slice; those that are kept already stay.

        Raises:
            FibsegError: an output cannot be read, or a file cannot be written.
        """
        wanted = sorted(slices.keys() - self.kept().keys())
        # Without a slice to take back there may be no outputs either.
        stacks = [open_stack(output.path) for output in self.outputs] if wanted else []
        for z in wanted:
            self.write(z, [stack.read(z) for stack in stacks], slices[z])

    def assemble(self) -> dict[int, KeptSlice] | None:
        """Make the outputs of the slices and remove the folder, once every slice is there.

        Returns:
            What was noted of the slices; None while some are missing; {} where another process has
            made the outputs already.

        Raises:
            FibsegError: an output cannot be written, or a slice is damaged.
        """
        try:
            with locked(self.folder / ".lock"):
                if not self._identity_file.exists():
                    return {}
                kept = self.kept()
                if len(kept) < self.shape[0]:
                    return None
                self._write_outputs(kept)
                self.remove()
                return kept
        # The folder goes while another process waits for its lock.
        except FileNotFoundError:
            if self.folder.exists():
                raise
            return {}

    def _write_outputs(self, kept: dict[int, KeptSlice]) -> None:
        digests = _digests(kept)
        facts = {
            # Of every slice: a later command labels again what has changed.
            "pixels": dict(sorted(digests.items())),
            "zeroed": [z for z, kept_slice in kept.items() if kept_slice.zeroed],
        }
        try:
            links = self._links()
            with ExitStack() as files:
                writers = []
                for output in self.outputs:
                    notes = output.notes | facts
                    header = StackHeader(self.shape, output.dtype, self.voxel_size, notes)
                    writers.append(files.enter_context(StackWriter(output.path, header)))
                for z in range(self.shape[0]):
                    layers = self._read(z)
                    if links is not None:
                        layers[-1] = links.numbered(z, layers[-1])
                    for writer, pixels in zip(writers, layers, strict=True):
                        writer.write(pixels)
        except DiskFullError as error:
            raise FibsegError(f"{error} All slices are kept in {self.folder}.") from error
        except OSError as error:
            raise FibsegError(
                f"{self.outputs[0].path}: could not be written ({error}); is the disk full? "
                f"All slices are kept in {self.folder}, and the same command resumes."
            ) from error

    def _links(self) -> Links | None:
        """Link the objects of all slices, two of which are in memory; None without any."""
        rules = self.outputs[-1].rules
        slices = (self._read(z) for z in range(self.shape[0]))
        pages = ((layers[0], layers[-1]) for layers in slices)
        return None if rules is None else linked_slices(pages, rules)

    def _read(self, z: int) -> list[Pixels]:
        """Pixels (H, W) of a slice in each output."""
        path = self.file(z)
        try:
            with tifffile.TiffFile(path) as file:
                return [page.asarray() for page in file.pages]
        # Decoders raise many kinds of exceptions on damaged bytes.
        except Exception as error:
            path.unlink(missing_ok=True)
            raise FibsegError(
                f"{path}: damaged ({error}); the same command labels this slice again."
            ) from error

    def remove(self) -> None:
        """Delete the folder and all slices in it."""
        # Renamed first: half a folder under its own name would pass for a prediction to resume.
        partial = partial_path(self.folder, shared=True)
        with suppress(OSError):
            os.replace(self.folder, partial)
        shutil.rmtree(partial, ignore_errors=True)


def _digests(kept: dict[int, KeptSlice]) -> dict[int, str]:
    """Digests of the slices that could be read, by position."""
    return {z: kept_slice.digest for z, kept_slice in kept.items() if not kept_slice.zeroed}


def zero_pixels(shape: tuple[int, int, int], outputs: Sequence[Output]) -> list[Pixels]:
    """Zeros (H, W) for a slice in each output, where it cannot be read; `shape` is (Z, H, W)."""
    return [np.zeros(shape[1:], output.dtype) for output in outputs]
