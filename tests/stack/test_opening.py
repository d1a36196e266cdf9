"""Paths, folders and globs that lead to a stack, and TIFF and PNG of other libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.io
import tifffile
from PIL import Image

from fibseg.errors import FibsegError
from fibseg.stack import StackHeader, StackWriter, open_stack, write_stack

VOLUME = np.random.default_rng(0).integers(0, 255, (12, 20, 30))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"compression": "lzw"}, {"bigtiff": True}]
)
def test_reads_tiffs_of_another_library(
    tmp_path: Path, dtype: str, options: dict[str, object]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOLUME.astype(dtype), **options)
    stack = open_stack(tmp_path / "a.tif")
    assert stack.shape == VOLUME.shape
    assert stack.dtype == dtype
    np.testing.assert_array_equal(np.stack(list(stack)), VOLUME)


@pytest.mark.parametrize(
    ("ending", "dtype"), [("png", "uint8"), ("png", "uint16"), ("tif", "float32")]
)
def test_folder_and_glob_are_read_in_natural_order(tmp_path: Path, ending: str, dtype: str) -> None:
    for z in range(12):
        skimage.io.imsave(
            tmp_path / f"z{z}.{ending}", VOLUME[z].astype(dtype), check_contrast=False
        )
    (tmp_path / "notes.txt").write_text("not a slice")
    for path in (tmp_path, tmp_path / f"z*.{ending}"):
        stack = open_stack(path)
        assert (stack.shape, stack.dtype) == (VOLUME.shape, dtype)
        np.testing.assert_array_equal(stack.read(11), VOLUME[11])
    assert open_stack(tmp_path / f"z1?.{ending}").shape[0] == 2


def test_palette_and_bilevel_pictures_give_their_indices(tmp_path: Path) -> None:
    labels = (VOLUME[0] % 3).astype(np.uint8)
    palette = Image.new("P", (30, 20))
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.putdata(labels.ravel().tolist())
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(open_stack(tmp_path / "p.png").read(0), labels)
    Image.fromarray(labels > 0).save(tmp_path / "b.png")
    np.testing.assert_array_equal(open_stack(tmp_path / "b.png").read(0), labels > 0)


def test_written_tiff_is_read_by_other_libraries(tmp_path: Path) -> None:
    write_stack(tmp_path / "out.tif", VOLUME.astype(np.uint8), [20, 5, 4])
    np.testing.assert_array_equal(skimage.io.imread(tmp_path / "out.tif"), VOLUME)
    with Image.open(tmp_path / "out.tif") as image:
        assert image.n_frames == 12
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        numerator, denominator = file.pages[0].tags["XResolution"].value
        # Pixels per nm.
        assert numerator / denominator == pytest.approx(1 / 4)
        assert file.imagej_metadata is not None
        assert (file.imagej_metadata["spacing"], file.imagej_metadata["unit"]) == (20, "nm")


def test_nothing_stands_under_the_name_before_the_last_slice(tmp_path: Path) -> None:
    path = tmp_path / "out.tif"
    header = StackHeader((2, 20, 30), "uint8")
    with pytest.raises(RuntimeError), StackWriter(path, header) as writer:
        writer.write(VOLUME[0].astype(np.uint8))
        raise RuntimeError
    with (
        pytest.raises(ValueError, match="1 slices written, expected 2"),
        StackWriter(path, header) as writer,
    ):
        writer.write(VOLUME[0].astype(np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["imwrite", "zlib", "fibseg", "imagej"])
def test_a_cut_tiff_is_an_error_or_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    volume = VOLUME[:5].astype(np.uint8)
    if kind == "fibseg":
        write_stack(path, volume)
    else:
        tifffile.imwrite(
            path, volume, imagej=kind == "imagej", compression="zlib" if kind == "zlib" else None
        )
    content = path.read_bytes()
    for length in range(0, len(content), 61):
        path.write_bytes(content[:length])
        try:
            read = np.stack(list(open_stack(path)))
        except FibsegError:
            continue
        np.testing.assert_array_equal(read, volume)


@pytest.mark.parametrize("depth", [3, 4])
def test_three_slices_stored_as_colour_planes_are_three_slices(tmp_path: Path, depth: int) -> None:
    volume = VOLUME[:depth].astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", volume, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(np.stack(list(open_stack(tmp_path / "a.tif"))), volume)


def test_a_cut_png_is_an_error_or_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(VOLUME[0].astype(np.uint8)).save(path)
    content = path.read_bytes()
    # The last bytes hold no pixels.
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        try:
            read = open_stack(path).read(0)
        except FibsegError:
            continue
        assert length > len(content) - 24
        np.testing.assert_array_equal(read, VOLUME[0])


def test_what_is_no_stack(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    image.save(tmp_path / "rgb.png")
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((4, 4, 3), np.uint8), photometric="rgb")
    (tmp_path / "x.dat").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    tifffile.imwrite(tmp_path / "mixed" / "z1.tif", np.zeros((4, 5), np.uint8))
    tifffile.imwrite(tmp_path / "mixed" / "z2.tif", np.zeros((4, 6), np.uint8))
    cases = {
        "missing.tif": "no such file",
        "z*.png": "no file matches",
        "x.dat": "format .dat is not known",
        "empty": "holds no slices",
        "mixed": "z2.tif: 4 x 6 pixels of uint8, but z1.tif is 4 x 5",
        "rgb.png": "grey picture",
        "rgb.tif": "expected grey slices",
    }
    for name, message in cases.items():
        with pytest.raises(FibsegError, match=message):
            open_stack(tmp_path / name)
