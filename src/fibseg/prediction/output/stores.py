"""Outputs that are written in place: OME-Zarr, slice by slice (0.4) or slab by slab (0.5)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fibseg.arrays import Pixels
from fibseg.files import remove, take_place, writing
from fibseg.prediction.output.changes import notes_of
from fibseg.prediction.output.outputs import Extent, Output, in_files, started_folder
from fibseg.stack.output.zarr import (
    SlicesOfStore,
    create_store,
    reopen_store,
    store_slices,
    write_store_notes,
)


class StartedStores:
    """The Zarr stores of a prediction: slices are written into them in any order.

    A store takes the name of its output once it is complete, so that nothing is copied.
    """

    def __init__(self, outputs: Sequence[Output], extent: Extent, locks: Path):
        """Write nothing yet.

        Args:
            outputs: all of a prediction, those in other formats too.
            extent: of all outputs.
            locks: the folder of the locks by which one process packs a slab.
        """
        self._locks = locks
        self._extent = extent
        self._outputs = {k: output for k, output in enumerate(outputs) if not in_files(output)}
        self._slices: dict[int, SlicesOfStore] = {}

    def path(self, k: int) -> Path:
        """Where output k is written until it takes its name."""
        # Beside each output, which may lie on another disk than the first.
        folder = started_folder(self._outputs[k].path)
        return folder / "store" if k == 0 else folder

    def create(self) -> None:
        """Make the stores that are not there, in which every slice is missing."""
        for k, output in self._outputs.items():
            place = self.path(k)
            if place.exists():
                continue
            with writing(output.path):
                place.parent.mkdir(parents=True, exist_ok=True)
                # Half a store, as after a kill, must not pass for a whole one.
                partial = place.with_name(f"{place.name}.new.partial")
                remove(partial)
                create_store(partial, self._extent.header(output), output.path.stem)
                os.replace(partial, place)

    def resume(self, identity: dict[str, Any]) -> bool:
        """Find the stores again; whether all of them still hold the slices that they held.

        A process may have been killed while they took their names, one after the other. Those that
        were made by this `identity` lose them again.
        """
        for k, output in self._outputs.items():
            if not self.path(k).exists():
                if notes_of(output.path).get("identity") != identity:
                    return False
                os.replace(output.path, self.path(k))
            with writing(output.path):
                reopen_store(self.path(k), self._extent.header(output))
        return True

    def has(self, z: int) -> bool:
        """Whether every store has the chunks of slice z."""
        return all(self._slices_of(k).has(z) for k in self._outputs)

    def write(self, z: int, layers: Sequence[Pixels]) -> None:
        """Write slice z: the pixels of each output, those in other formats left out."""
        for k, output in self._outputs.items():
            with writing(output.path):
                slices = self._slices_of(k)
                # It is written once more, since its image has changed or can be read now.
                if slices.is_packed(z):
                    with self._slab_lock(slices.slab(z)):
                        slices.unpack(z)
                # What another process may have left that was killed while it wrote them.
                slices.clear(z)
                slices.write(z, layers[k])

    def pack(self, z: int, has: Callable[[int], bool]) -> None:
        """Write the shards of the slab of slice z, once all its slices are there.

        Args:
            z: position of a slice that has just been finished.
            has: whether a slice is finished.
        """
        for k, output in self._outputs.items():
            slab = self._slices_of(k).slab(z)
            if output.ome_zarr == "0.4" or not all(map(has, slab)):
                continue
            try:
                with self._slab_lock(slab, timeout=0), writing(output.path):
                    self._slices_of(k).pack(z)
            # The process that finished another one of its slices at the same time packs it.
            except Timeout:
                continue

    def pack_all(self) -> None:
        """Pack what is not packed, as after a kill; the caller is alone in the session."""
        for k, output in self._outputs.items():
            slices = self._slices_of(k)
            z = 0
            while z < self._extent.shape[0]:
                with writing(output.path):
                    slices.pack(z)
                z = slices.slab(z).stop

    def _slab_lock(self, slab: range, timeout: float = -1) -> FileLock:
        return FileLock(self._locks / f".slab-{slab.start}.lock", timeout=timeout)

    def read(self, k: int, z: int) -> Pixels:
        """Read slice z of output k, which is written: (H, W), or (C, H, W) with channels."""
        return self._slices_of(k).read(z)

    def _slices_of(self, k: int) -> SlicesOfStore:
        if k not in self._slices:
            self._slices[k] = store_slices(self.path(k), self._extent.header(self._outputs[k]))
        return self._slices[k]

    def finish(self, k: int, facts: Mapping[str, Any]) -> None:
        """Complete the notes of output k with `facts`, and give it its name."""
        output = self._outputs[k]
        with writing(output.path):
            self._slices_of(k).finish()
            write_store_notes(self.path(k), self._extent.header(output, facts))
            take_place(self.path(k), output.path)
            # Of a process that was killed while it replaced an older output.
            remove(self.path(k).with_name(f"{self.path(k).name}.old.partial"))

    def remove(self) -> None:
        """Delete the stores that have not taken their names."""
        for k in self._outputs:
            remove(self.path(k))
