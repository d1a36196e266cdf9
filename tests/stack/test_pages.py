"""Pages of a TIFF file that are written together and read by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.stack import open_stack, read_pages, write_pages


def test_pages_may_differ_in_size(tmp_path: Path) -> None:
    pages = [np.full(shape, 3, np.uint8) for shape in ((5, 7), (90, 4), (1, 1))]
    path = tmp_path / "labels" / "test.tif"
    write_pages(path, pages)
    assert [page.shape for page in read_pages(path)] == [page.shape for page in pages]
    (middle,) = read_pages(path, [1])
    np.testing.assert_array_equal(middle, pages[1])


def test_pages_of_one_size_are_a_stack_with_a_voxel_size(tmp_path: Path) -> None:
    pages = [np.full((5, 7), z, np.uint8) for z in range(3)]
    path = tmp_path / "test.tif"
    write_pages(path, pages, [40, 6, 4])
    np.testing.assert_array_equal(read_pages(path), pages)
    stack = open_stack(path)
    assert stack.voxel_size == (40, 6, 4)
    np.testing.assert_array_equal([stack.read(z) for z in range(3)], pages)
    # By another reader: pixels per nm, and the distance of slices as ImageJ has it.
    with tifffile.TiffFile(path) as file:
        assert file.imagej_metadata is not None
        assert file.imagej_metadata["spacing"] == 40
        resolution = file.pages[2].tags["XResolution"].value
        assert resolution[1] / resolution[0] == pytest.approx(4)


def test_pages_of_several_sizes_are_no_stack_and_get_no_voxel_size(tmp_path: Path) -> None:
    pages = [np.zeros(shape, np.uint8) for shape in ((5, 7), (6, 7))]
    path = tmp_path / "test.tif"
    write_pages(path, pages, [40, 6, 4])
    assert [page.shape for page in read_pages(path)] == [(5, 7), (6, 7)]
    with tifffile.TiffFile(path) as file:
        assert not file.is_imagej
