"""Finished slices of a prediction, kept beside its output until all of them are there.

So a prediction can be stopped, resumed, and shared out over several processes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import tifffile

from fibseg.arrays import Pixels
from fibseg.errors import DiskFullError, FibsegError
from fibseg.files import partial_path, remove_partials, replacing, write_whole
from fibseg.prediction.output.changes import differences
from fibseg.prediction.output.joining import KeptPages
from fibseg.prediction.output.outputs import (
    Extent,
    KeptSlice,
    Output,
    by_output,
    in_files,
    mark_of,
    open_layers,
    slice_files,
    started_folder,
)
from fibseg.prediction.output.session import StackSession, write_errors_named
from fibseg.prediction.output.stores import StartedStores
from fibseg.stack.output.tiff import PAGE_OPTIONS


class Staging:
    """A folder that says which slices are finished; the outputs are complete when all are there.

    Several processes may fill it, each with slices of its own. Slices are written into a Zarr store
    at once, and the store takes its name at the end. Those of a TIFF and of objects are kept in a
    file each until then. A damaged file counts as missing, so that its slice is labelled again.

    Attributes:
        outputs: the labels first, then the layers, objects last.
        shape: (Z, H, W) of the outputs.
        voxel_size: (z, y, x) in nm; None where it is unknown.
        folder: holds a file for each finished slice, and is removed at the end.
    """

    def __init__(
        self, outputs: Sequence[Output], shape: tuple[int, int, int], voxel_size: list[float] | None
    ):
        """Nothing is written before `begin`."""
        self.outputs = list(outputs)
        self.shape = shape
        self.voxel_size = voxel_size
        first = outputs[0].path
        self.folder = started_folder(first)
        self._identity_file = self.folder / "identity.json"
        self._in_files = [in_files(output) for output in outputs]
        self._extent = Extent(shape, voxel_size)
        self._stores = StartedStores(outputs, self._extent, self.folder)
        # Of finished outputs that are there now, to notice those of another process.
        self._seen = [mark_of(output.path) for output in outputs]

    def begin(self, identity: dict[str, Any]) -> bool:
        """Prepare the folder, or resume one of the same identity.

        The caller is alone in the session of the folder.

        Args:
            identity: what the labels depend on beside the image.

        Returns:
            Whether there is anything to do: another process may have made the outputs since.

        Raises:
            FibsegError: the folder was begun with another model or setting, or cannot be written.
        """
        if self._identity_file.exists():
            self.require(identity)
            if not self._stores.resume(identity):
                # First of all: a note of a slice whose store is gone would be a slice of zeros.
                self._forget_all()
                self._stores.create()
            return True
        if self._seen != [mark_of(output.path) for output in self.outputs]:
            self.remove()
            return False
        # A kill during `remove` leaves slices of an unknown model.
        self._forget_all()
        self._stores.remove()
        with write_errors_named(self._identity_file):
            self._stores.create()
            write_whole(self._identity_file, json.dumps(identity))
        return True

    def require(self, identity: dict[str, Any]) -> None:
        """Check that the folder was begun with the same identity.

        Raises:
            FibsegError: it was begun with another model or setting.
        """
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

    def _forget_all(self) -> None:
        for path in slice_files(self.folder):
            path.unlink()

    def file(self, z: int) -> Path:
        """What says that a slice is finished: a TIFF with a page per output in files, or JSON."""
        return self.folder / f"{z:06d}{'.tif' if any(self._in_files) else '.json'}"

    def has(self, z: int) -> bool:
        """Whether a slice is finished, by the name of its file alone."""
        return self.file(z).exists()

    def kept(self) -> dict[int, KeptSlice]:
        """The finished slices by position; damaged files are deleted."""
        slices = {}
        for path in slice_files(self.folder):
            try:
                z = int(path.stem)
                if not self._stores.has(z):
                    raise ValueError("a chunk is missing")
                slices[z] = self._kept_slice(path)
            # What tifffile and json raise on a file that was cut off.
            except (OSError, ValueError, KeyError, IndexError):
                path.unlink(missing_ok=True)
        return slices

    def _kept_slice(self, path: Path) -> KeptSlice:
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
        else:
            with tifffile.TiffFile(path) as file:
                if len(file.pages) != sum(self._in_files):
                    raise ValueError("a page is missing")
                text = file.pages.first.description
        notes = json.loads(text)
        return KeptSlice(float(notes["outside"]), str(notes["digest"]), bool(notes["zeroed"]))

    def digests(self) -> dict[int, str]:
        """Digests of the images of the finished slices by position; none of those that are 0."""
        return _digests(self.kept())

    def missing(self, positions: Sequence[int]) -> list[int]:
        """Those slices that are not finished; what could not be read is to be tried again."""
        finished = self.digests()
        return [z for z in positions if z not in finished]

    def count_missing(self) -> int:
        """Count the slices that are not finished, by the names of files alone."""
        return self.shape[0] - len(slice_files(self.folder))

    def write(self, z: int, layers: Sequence[Pixels], kept: KeptSlice) -> None:
        """Keep the finished slice z: its layers (H, W), and what is noted of it.

        Raises:
            FibsegError: a file cannot be written.
        """
        outputs = by_output(self.outputs, layers)
        try:
            self._stores.write(z, outputs)
            # After the pixels, since it says that the slice is finished.
            pages = [pixels for k, pixels in enumerate(outputs) if self._in_files[k]]
            self._note(z, pages, json.dumps(asdict(kept)))
            self._stores.pack(z, self.has)
        except DiskFullError:
            raise
        except OSError as error:
            raise FibsegError(
                f"{self.folder}: slice {z} could not be written ({error})."
            ) from error

    def _note(self, z: int, pages: Sequence[Pixels], text: str) -> None:
        with replacing(self.file(z), shared=True) as partial:
            if not pages:
                partial.write_text(text, encoding="utf-8")
                return
            with tifffile.TiffWriter(partial) as file:
                for k, pixels in enumerate(pages):
                    file.write(pixels, **PAGE_OPTIONS, description=text if k == 0 else "")

    def restore(self, slices: Mapping[int, KeptSlice]) -> None:
        """Take finished slices back from the outputs, which an earlier prediction made.

        Args:
            slices: position -> what was noted of the slice; those that are kept already stay.

        Raises:
            FibsegError: an output cannot be read, or a file cannot be written.
        """
        wanted = sorted(slices.keys() - self.kept().keys())
        # Without a slice to take back there may be no outputs either.
        layers = open_layers(self.outputs) if wanted else []
        for z in wanted:
            self.write(z, [layer.read(z) for layer in layers], slices[z])

    def finish(self) -> dict[int, KeptSlice] | None:
        """Give the outputs their names and remove the folder, once every slice is there.

        The caller is alone in the session of the folder.

        Returns:
            What was noted of the slices; None while some are missing.

        Raises:
            FibsegError: an output cannot be written, or a slice is damaged.
        """
        kept = self.kept()
        if len(kept) < self.shape[0]:
            return None
        facts = {
            # Of every slice: a later command labels again what has changed.
            "pixels": dict(sorted(_digests(kept).items())),
            "zeroed": [z for z, kept_slice in kept.items() if kept_slice.zeroed],
        }
        try:
            self._stores.pack_all()
            # The labels last: until they are there, the same command makes all of them.
            for k in reversed(range(len(self.outputs))):
                output = self.outputs[k]
                if output.rules is not None:
                    self._pages(k).number(output, self._extent, facts, labels=self._labels)
                elif self._in_files[k]:
                    self._pages(k).join(output, self._extent, facts)
                else:
                    self._stores.finish(k, facts)
        except DiskFullError as error:
            raise FibsegError(f"{error} All slices are kept in {self.folder}.") from error
        except OSError as error:
            raise FibsegError(
                f"{self.outputs[0].path}: could not be written ({error}); is the disk full? "
                f"All slices are kept in {self.folder}, and the same command resumes."
            ) from error
        self.remove()
        return kept

    def _pages(self, k: int) -> KeptPages:
        return KeptPages(self.file, sum(self._in_files[:k]))

    def _labels(self, z: int) -> Pixels:
        return self._pages(0).read(z) if self._in_files[0] else self._stores.read(0, z)

    def remove_left(self, identity: dict[str, Any]) -> None:
        """Delete the folder where a process was killed that had finished the outputs."""
        # It may have been killed while it deleted the folder.
        remove_partials(self.folder)
        if not self._identity_file.exists():
            return
        with StackSession(self.folder) as session:
            is_same = json.loads(self._identity_file.read_text(encoding="utf-8")) == identity
            if session.is_first and is_same:
                self.remove()

    def remove(self) -> None:
        """Delete the folder and all slices that are in it."""
        self._stores.remove()
        # Renamed first: half a folder under its own name would pass for a prediction to resume.
        partial = partial_path(self.folder, shared=True)
        with suppress(OSError):
            os.replace(self.folder, partial)
        shutil.rmtree(partial, ignore_errors=True)


def _digests(kept: dict[int, KeptSlice]) -> dict[int, str]:
    """Digests of the slices that could be read, by position."""
    return {z: kept_slice.digest for z, kept_slice in kept.items() if not kept_slice.zeroed}
