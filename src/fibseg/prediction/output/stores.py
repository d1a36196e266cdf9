"""Outputs that are written in place: OME-Zarr, whose chunks each hold a slice alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fibseg.arrays import Pixels
from fibseg.files import remove, take_place, writing
from fibseg.prediction.output.changes import notes_of
from fibseg.prediction.output.outputs import Extent, Output, in_files, started_folder
from fibseg.stack.output.zarr import StoreSlices, create_store, write_store_notes


class StartedStores:
    """The Zarr stores of a prediction: slices are written into them in any order.

    A store takes the name of its output once it is complete, so that nothing is copied.
    """

    def __init__(self, outputs: Sequence[Output], extent: Extent):
        """`outputs` are all of a prediction, those in other formats too."""
        self._extent = extent
        self._outputs = {k: output for k, output in enumerate(outputs) if not in_files(output)}
        self._slices: dict[int, StoreSlices] = {}

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
            if self.path(k).exists():
                continue
            if notes_of(output.path).get("identity") != identity:
                return False
            os.replace(output.path, self.path(k))
        return True

    def has(self, z: int) -> bool:
        """Whether every store has the chunks of slice z."""
        return all(self._slices_of(k).has(z) for k in self._outputs)

    def write(self, z: int, layers: Sequence[Pixels]) -> None:
        """Write slice z, (H, W) in each output, those in other formats left out."""
        for k, output in self._outputs.items():
            with writing(output.path):
                slices = self._slices_of(k)
                # What another process may have left that was killed while it wrote them.
                slices.clear(z)
                slices.write(z, layers[k])

    def read(self, k: int, z: int) -> Pixels:
        """Read slice z (H, W) of output k, which is written."""
        return self._slices_of(k).read(z)

    def _slices_of(self, k: int) -> StoreSlices:
        if k not in self._slices:
            self._slices[k] = StoreSlices(self.path(k), self._extent.header(self._outputs[k]))
        return self._slices[k]

    def finish(self, k: int, facts: Mapping[str, Any]) -> None:
        """Complete the notes of output k with `facts`, and give it its name."""
        output = self._outputs[k]
        with writing(output.path):
            write_store_notes(self.path(k), output.notes | dict(facts))
            take_place(self.path(k), output.path)
            # Of a process that was killed while it replaced an older output.
            remove(self.path(k).with_name(f"{self.path(k).name}.old.partial"))

    def remove(self) -> None:
        """Delete the stores that have not taken their names."""
        for k in self._outputs:
            remove(self.path(k))
