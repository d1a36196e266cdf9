"""Outputs that are made at the end, of slices that are kept in a file each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tifffile

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.files import clear_leftovers, replacing
from fibseg.prediction.instances.linking import linked_slices
from fibseg.prediction.output.outputs import Extent, Output
from fibseg.stack import StackWriter
from fibseg.stack.output.tiff import TiffOutput


class KeptPages:
    """The pages of an output in the files of its slices, one in each."""

    def __init__(self, file: Callable[[int], Path], number: int):
        """Read nothing yet.

        Args:
            file: gives the file of a slice.
            number: of the output's page in it.
        """
        self._file = file
        self._number = number

    def read(self, z: int) -> Pixels:
        """Read the page (H, W) of slice z.

        Raises:
            FibsegError: its file is damaged; it is deleted, so that the slice is labelled again.
        """
        with self._page(z) as page:
            pixels: Pixels = page.asarray()
            return pixels

    def join(self, output: Output, extent: Extent, facts: Mapping[str, Any]) -> None:
        """Make a TIFF of the compressed pages as they are.

        Raises:
            FibsegError: as `read`.
        """
        clear_leftovers([output.path])
        with replacing(output.path, shared=True) as partial:
            target = TiffOutput(partial, extent.header(output, facts), output.path.stem)
            try:
                for z in range(extent.shape[0]):
                    with self._page(z) as page:
                        target.copy(z, page)
            finally:
                target.close()

    def number(
        self,
        output: Output,
        extent: Extent,
        facts: Mapping[str, Any],
        labels: Callable[[int], Pixels],
    ) -> None:
        """Link the objects of all slices, two of which are in memory, and write their numbers.

        Args:
            output: of objects.
            extent: of all outputs.
            facts: that are noted in it.
            labels: gives the labels (H, W) of a slice.

        Raises:
            FibsegError: as `read`.
        """
        assert output.rules is not None
        slices = range(extent.shape[0])
        links = linked_slices(((labels(z), self.read(z)) for z in slices), output.rules)
        with StackWriter(output.path, extent.header(output, facts)) as writer:
            for z in slices:
                writer.write(links.numbered(z, self.read(z)))

    @contextmanager
    def _page(self, z: int) -> Iterator[tifffile.TiffPage]:
        path = self._file(z)
        try:
            with tifffile.TiffFile(path) as file:
                yield file.pages[self._number].aspage()
        except (OSError, MemoryError):
            raise
        # Decoders raise many kinds of exceptions on damaged bytes.
        except Exception as error:
            path.unlink(missing_ok=True)
            raise FibsegError(
                f"{path}: damaged ({error}); the same command labels this slice again."
            ) from error
