"""Image and label files that cannot be taken as they are, with the sentence that users see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from tests.support import Commands
from tests.support.mistakes import check_mistakes, check_row
from tests.support.mutations import ome_set

PIXELS = np.zeros((5, 8, 9), np.uint8)


def masks_between(folder: Path) -> str:
    for z, image in enumerate(PIXELS):
        tifffile.imwrite(folder / f"img_{z}.tif", image)
        tifffile.imwrite(folder / f"img_{z}_masks.tif", image)
    return "."


def two_endings(folder: Path) -> str:
    tifffile.imwrite(folder / "z0.tif", PIXELS[0])
    Image.fromarray(PIXELS[0]).save(folder / "z0.png")
    return "z0.*"


def palettes(folder: Path) -> str:
    for z, colours in enumerate([[0, 0, 0, 255, 0, 0], [0, 0, 0, 0, 255, 0]]):
        picture = Image.new("P", (9, 8))
        picture.putpalette(colours)
        picture.save(folder / f"z{z}.png")
    return "z*.png"


def colours(folder: Path) -> str:
    Image.new("RGB", (9, 8)).save(folder / "a.png")
    return "a.png"


def part_of_a_set(folder: Path) -> str:
    ome_set(folder, PIXELS)
    (folder / "s3.ome.tif").unlink()
    return "s0.ome.tif"


def n5(folder: Path) -> str:
    (folder / "a.n5" / "s0").mkdir(parents=True)
    (folder / "a.n5" / "attributes.json").write_text('{"n5": "2.5.0"}')
    return "a.n5/s0"


def cut_chunk(folder: Path) -> str:
    noise = np.random.default_rng(0).integers(0, 99, PIXELS.shape).astype(np.uint8)
    options = {"zarr_format": 2, "compressors": numcodecs.Blosc()}
    zarr.create_array(folder / "a.zarr", data=noise, chunks=PIXELS.shape, **options)
    chunk = folder / "a.zarr" / "0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    return "a.zarr"


def link_elsewhere(folder: Path) -> str:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("a", PIXELS.shape, "u1", external=[("/etc/hostname", 0, 360)])
    return "a.h5"


def large(folder: Path) -> str:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("a", shape=(5, 200_000, 200_000), dtype="u1", chunks=(1, 64, 64))
    return "a.h5"


def url(_: Path) -> str:
    return "file:///etc"


FILES: dict[str, tuple[Callable[[Path], str], list[str]]] = {
    "images and masks in a folder": (masks_between, ["img_0.tif", "img_0_masks.tif"]),
    "two files for a number": (two_endings, ["z0.tif", "z0.png"]),
    "a palette per slice": (palettes, ["z1.png", "z0.png", "palette"]),
    "colours": (colours, ["a.png", "--class NAME=#rrggbb"]),
    "a part of a set": (part_of_a_set, ["s3.ome.tif is not there"]),
    "N5": (n5, ["save it as Zarr"]),
    "a cut chunk": (cut_chunk, ["slice 0", "has 100 bytes and says"]),
    "pixels elsewhere": (link_elsewhere, ["/etc/hostname, outside the folder"]),
    "too large": (large, ["at most 1073741824 pixels"]),
    "a URL of this machine": (url, ["expected one of http"]),
}


@pytest.mark.parametrize("case", FILES)
def test_mistakes_in_files(commands: Commands, tmp_path: Path, case: str) -> None:
    write, fragments = FILES[case]
    folder = tmp_path / "raw"
    folder.mkdir()
    path = write(folder)
    result = commands.run("fibseg", "filter", path, "../x.tif", "--area", "1", cwd=folder)
    check_row(f"file: {case}", commands.refused(result, *fragments))


def test_the_docs_have_these_mistakes() -> None:
    check_mistakes("file:", [f"file: {case}" for case in FILES])
