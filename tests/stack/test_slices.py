"""Files that are the slices of a stack: order, numbers, and files that do not belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from fibseg.errors import FibsegError
from fibseg.stack import open_colours, open_stack


def write_slices(folder: Path, *names: str) -> list[int]:
    """Write a slice under each name, of its number in the list; return these values."""
    folder.mkdir(exist_ok=True)
    for value, name in enumerate(names):
        pixels = np.full((4, 5), value, np.uint8)
        if name.endswith("png"):
            Image.fromarray(pixels).save(folder / name)
        else:
            tifffile.imwrite(folder / name, pixels)
    return list(range(len(names)))


def values(path: Path | str) -> list[int]:
    return [int(image[0, 0]) for image in open_stack(path)]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["z2.tif", "z9.tif", "z10.tif"], (2, 9, 10)),
        (["cell_8nm_z08.png", "cell_8nm_z09.png", "cell_8nm_z10.png"], (8, 9, 10)),
        (["z=0.05um.tif", "z=0.1um.tif", "z=0.15um.tif", "z=1um.tif"], None),
        (["z=-0.1um.tif", "z=-0.05um.tif", "z=0um.tif"], None),
        (["a_0,5 nm.tif", "a_1 nm.tif", "a_1,5 nm.tif"], None),
        (["v1.9.tif", "v1.10.tif", "v1.11.tif"], (9, 10, 11)),
        (["2021.03.05-1.tif", "2021.03.05-2.tif", "2021.03.05-11.tif"], (1, 2, 11)),
        (["1_z4.tif", "2_z8.tif", "3_z12.tif"], None),
        (["first.tif", "second.tif"], None),
    ],
)
def test_order_and_numbers(
    names: list[str], numbers: tuple[int, ...] | None, tmp_path: Path
) -> None:
    expected = write_slices(tmp_path / "raw", *names)
    stack = open_stack(tmp_path / "raw")
    assert values(tmp_path / "raw") == expected
    assert stack.slice_numbers == numbers


def test_a_lone_file_of_a_folder_has_a_number(tmp_path: Path) -> None:
    """Of labels of a single slice, which slice of the image they belong to."""
    write_slices(tmp_path / "labels", "slice_003.tif")
    assert open_stack(tmp_path / "labels").slice_numbers == (3,)
    assert open_stack(tmp_path / "labels" / "slice_*.tif").slice_numbers == (3,)
    assert open_stack(tmp_path / "labels" / "slice_003.tif").slice_numbers is None


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (["img_0.tif", "img_0_masks.tif", "img_1.tif", "img_1_masks.tif"], "img_0.*img_0_masks"),
        (["img_0.tif", "img_1.tif", "masks_0.tif", "masks_1.tif"], "img_0.*masks_0"),
        (["z0.tif", "z0.png", "z1.tif", "z1.png"], "z0.*z0"),
        (["z1.tif", "z01.tif"], "z1.*z01"),
        (["a.tif", "a.png"], "a.*a"),
        (["x0.tif", "x0_mask2.tif", "x1.tif", "x1_mask2.tif"], "x0.tif and x0_mask2"),
    ],
)
def test_two_files_for_a_number(names: list[str], pair: str, tmp_path: Path) -> None:
    """The sentence names both files, and what it shows opens the first kind."""
    write_slices(tmp_path / "train", *names)
    with pytest.raises(FibsegError, match=pair) as raised:
        open_stack(tmp_path / "train")
    assert "offset" not in str(raised.value)
    pattern = str(raised.value).partition("as '")[2].partition("'")[0]
    assert open_stack(pattern).shape[0] in (1, 2)


def test_missing_numbers_are_doubted(tmp_path: Path) -> None:
    write_slices(tmp_path / "gap", "z1.tif", "z2.tif", "z4.tif")
    (doubt,) = open_stack(tmp_path / "gap").doubts
    assert "z2.tif is followed by z4.tif" in doubt
    write_slices(tmp_path / "tens", "z10.tif", "z20.tif", "z30.tif")
    assert open_stack(tmp_path / "tens").doubts == ()
    write_slices(tmp_path / "kinds", "a_0.tif", "a_1.tif", "b_2.tif", "b_3.tif")
    (doubt,) = open_stack(tmp_path / "kinds").doubts
    assert "2 kinds" in doubt


def test_brackets_of_a_folder_that_exists_are_letters(tmp_path: Path) -> None:
    folder = tmp_path / "cell [8 nm] & more, ö"
    expected = write_slices(folder, "z0.tif", "z1.tif", "z[2].tif")
    assert values(f"{folder}/*.tif") == expected
    assert values(f"{folder}/z[01].tif") == expected[:2]
    assert values(f"{folder}/z[2]*") == expected[2:]
    assert values(f"{tmp_path}/*/z[01].tif") == expected[:2]


def palette_slice(path: Path, indices: np.ndarray, colours: list[tuple[int, int, int]]) -> None:
    picture = Image.fromarray(indices.astype(np.uint8), "P")
    picture.putpalette([value for colour in colours for value in colour])
    if path.suffix == ".tif":
        colormap = np.zeros((3, 256), np.uint16)
        colormap[:, : len(colours)] = np.array(colours).T * 257
        tifffile.imwrite(path, np.asarray(picture), photometric="palette", colormap=colormap)
    else:
        picture.save(path)


RED = (255, 0, 0)
GREEN = (0, 255, 0)
BLACK = (0, 0, 0)


@pytest.mark.filterwarnings("ignore:.*mode.*:DeprecationWarning")
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_palettes_that_differ(ending: str, tmp_path: Path) -> None:
    """An index means another colour in each file; colours mean the same."""
    indices = np.arange(12).reshape(3, 4) % 3
    palette_slice(tmp_path / f"z0.{ending}", indices, [BLACK, RED, GREEN])
    palette_slice(tmp_path / f"z1.{ending}", indices, [BLACK, RED, GREEN])
    np.testing.assert_array_equal(list(open_stack(tmp_path)), [indices, indices])
    palette_slice(tmp_path / f"z2.{ending}", indices, [BLACK, GREEN, RED])
    with pytest.raises(
        FibsegError, match=rf"z2\.{ending}: its palette is not that of z0\.{ending}"
    ):
        open_stack(tmp_path)
    colours = open_colours(tmp_path)
    assert (colours.dtype, colours.slice_numbers) == (np.uint32, (0, 1, 2))
    np.testing.assert_array_equal(colours.read(1), np.array([0, 0xFF0000, 0xFF00])[indices])
    np.testing.assert_array_equal(colours.read(2), np.array([0, 0xFF00, 0xFF0000])[indices])


@pytest.mark.filterwarnings("ignore:.*mode.*:DeprecationWarning")
def test_a_palette_beside_grey_slices_and_a_longer_palette(tmp_path: Path) -> None:
    indices = np.arange(12).reshape(3, 4) % 2
    palette_slice(tmp_path / "z0.png", indices, [BLACK, RED])
    palette_slice(tmp_path / "z1.png", indices, [BLACK, RED, GREEN])
    assert open_stack(tmp_path).shape == (2, 3, 4)
    Image.fromarray(indices.astype(np.uint8)).save(tmp_path / "z2.png")
    with pytest.raises(FibsegError, match=r"z2\.png: its palette"):
        open_stack(tmp_path)


def test_colours_of_pages_and_of_kinds_of_pictures(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)
    numbers = colours.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    tifffile.imwrite(tmp_path / "pages.tif", colours, photometric="rgb")
    np.testing.assert_array_equal(list(open_colours(tmp_path / "pages.tif")), numbers)
    planes = np.moveaxis(colours[0], -1, 0)
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(open_colours(tmp_path / "planes.tif").read(0), numbers[0])
    Image.fromarray(colours[0]).save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(open_colours(tmp_path / "rgb.png").read(0), numbers[0])
    opaque = np.full((4, 5, 1), 255, np.uint8)
    opaque[0, 0] = 0
    Image.fromarray(np.concatenate([colours[0], opaque], -1)).save(tmp_path / "rgba.png")
    clear = open_colours(tmp_path / "rgba.png").read(0)
    assert clear[0, 0] == 0
    np.testing.assert_array_equal(clear[1:], numbers[0, 1:])
    Image.fromarray(np.full((4, 5), 7, np.uint8)).save(tmp_path / "grey.png")
    assert (open_colours(tmp_path / "grey.png").read(0) == 0x070707).all()
    opaque[1, 1] = 100
    Image.fromarray(np.concatenate([colours[0], opaque], -1)).save(tmp_path / "half.png")
    with pytest.raises(FibsegError, match="half transparent"):
        open_colours(tmp_path / "half.png").read(0)
    for name in ("rgb.png", "rgba.png", "pages.tif"):
        with pytest.raises(FibsegError, match="fibseg import --class NAME=#rrggbb"):
            open_stack(tmp_path / name)
