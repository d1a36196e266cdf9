"""Pages of a TIFF file that are written together and read by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fibseg.stack import read_pages, write_pages


def test_pages_may_differ_in_size(tmp_path: Path) -> None:
    pages = [np.full(shape, 3, np.uint8) for shape in ((5, 7), (90, 4), (1, 1))]
    path = tmp_path / "labels" / "test.tif"
    write_pages(path, pages)
    assert [page.shape for page in read_pages(path)] == [page.shape for page in pages]
    (middle,) = read_pages(path, [1])
    np.testing.assert_array_equal(middle, pages[1])
