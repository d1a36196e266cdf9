"""Public sets in their own layout, made of a phantom and served on loopback."""

from __future__ import annotations

import io
import multiprocessing
import os
import re
import shutil
import signal
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from rich.console import Console

from fibseg import files
from fibseg.arrays import IGNORE, Pixels
from fibseg.config.compose import load_description
from fibseg.data.public import crops, fetching
from fibseg.data.public.fetching import FetchedSet, fetch_set
from fibseg.data.public.sets import PUBLIC_SETS, PublicSet
from fibseg.data.slices import load_slices
from fibseg.errors import FibsegError
from tests.support.http_files import FileServer, serving

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (10, 32, 48), dtype=np.uint8)
# Two volumes with the same pixels would be one image.
IMAGE_OF = {"Train": IMAGES, "Test": 255 - IMAGES}
MITOCHONDRIA = np.zeros(IMAGES.shape, bool)
MITOCHONDRIA[:, 4:12, 5:20] = True
MITOCHONDRIA[3:, 20:30, 30:44] = True


def picture(pixels: Pixels, ending: str) -> bytes:
    content = io.BytesIO()
    if ending == "png":
        Image.fromarray(pixels).save(content, "png")
    else:
        tifffile.imwrite(content, pixels)
    return content.getvalue()


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def plus_plus(name: str, labels: Sequence[Pixels]) -> dict[str, bytes]:
    """The archive of Lucchi++ and Kasthuri++: mask0000.png beside 0.png, in two volumes."""
    files = {"__MACOSX/._mask0000.png": b"junk"}
    for part, images in IMAGE_OF.items():
        for z, (image, label) in enumerate(zip(images, labels, strict=True)):
            files[f"{name}/{part}_In/mask{z:04d}.png"] = picture(image, "png")
            files[f"{name}/{part}_Out/{z}.png"] = picture(label, "png")
    return files


def write_lucchi(folder: Path) -> None:
    for name, images in (("training", IMAGES), ("testing", IMAGE_OF["Test"])):
        tifffile.imwrite(folder / f"{name}.tif", images)
        labels = MITOCHONDRIA * np.uint8(255)
        tifffile.imwrite(folder / f"{name}_groundtruth.tif", labels)


def write_lucchi_pp(folder: Path) -> None:
    # Some are in four colours, others in grey: both are among the published files.
    grey = MITOCHONDRIA * np.uint8(255)
    four = [np.dstack([label] * 3 + [np.full_like(label, 255)]) for label in grey[:5]]
    write_zip(folder / "lucchi_pp.zip", plus_plus("Lucchi++", [*four, *grey[5:]]))


def write_kasthuri_pp(folder: Path) -> None:
    labels = MITOCHONDRIA * np.uint8(255)
    labels[:, :, :3] = 2
    # A colour without meaning.
    colours = np.stack([labels] * 3, axis=-1)
    colours[0, 31, 47] = (200, 10, 10)
    write_zip(folder / "kasthuri_pp.zip", plus_plus("Kasthuri++", list(colours)))


def vnc_labels() -> Pixels:
    labels = np.where(MITOCHONDRIA, 191, 255).astype(np.uint8)
    for column, value in enumerate((0, 32, 64, 96, 128, 159, 223)):
        labels[:, 0, column] = value
    return labels


def write_drosophila_vnc(folder: Path) -> None:
    root = "groundtruth-drosophila-vnc-master"
    files = {f"{root}/README.md": b"text", f"{root}/stack2/raw/00.tif": picture(IMAGES[0], "tif")}
    for z, (image, label) in enumerate(zip(IMAGES, vnc_labels(), strict=True)):
        files[f"{root}/stack1/raw/{z:02d}.tif"] = picture(image, "tif")
        files[f"{root}/stack1/labels/labels{z:08d}.png"] = picture(label, "png")
    write_zip(folder / "master.zip", files)


def mitoem_numbers() -> Pixels:
    numbers = MITOCHONDRIA * np.uint16(1)
    numbers[:, :15] *= 300
    return numbers


def write_mitoem_rat(folder: Path) -> None:
    # Of the ten images, 0 to 5 and 6 to 8 have labels.
    images = {f"im/im{z:04d}.png": picture(image, "png") for z, image in enumerate(IMAGES)}
    write_zip(folder / "EM30-R-im.zip", images)
    labels = {
        f"mito-{'train' if z < 6 else 'val'}-v2/seg{z:04d}.tif": picture(mitoem_numbers()[z], "tif")
        for z in range(9)
    }
    write_zip(folder / "EM30-R-mito-train-val-v2.zip", labels)


def write_picture(
    path: Path,
    levels: Sequence[tuple[Pixels, Sequence[float], Sequence[float]]],
    **options: Any,
) -> None:
    """An OME-Zarr 0.4 picture of levels with voxel size and translation in nm, Zarr 2."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    datasets = []
    for level, (pixels, size, origin) in enumerate(levels):
        group.create_array(f"s{level}", data=pixels, chunks=(4, 16, 16), **options)
        steps = [
            {"type": "scale", "scale": list(size)},
            {"type": "translation", "translation": list(origin)},
        ]
        datasets.append({"path": f"s{level}", "coordinateTransformations": steps})
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]


def write_hela_crop(folder: Path, **options: Any) -> Pixels:
    """A crop at (2, 10, 20) voxels of a larger image; its finest level is finer than the image."""
    image = GENERATOR.integers(0, 256, (16, 64, 80), dtype=np.uint8)
    labels = MITOCHONDRIA.astype(np.uint8)
    labels[:, 31] = 255
    size = np.array([5.24, 4, 4])
    place = size * [2, 10, 20]
    finer = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    write_picture(folder / "em" / "fibsem-uint8", [(image, size, [0, 0, 0])], **options)
    write_picture(
        folder / "labels" / "groundtruth" / "crop1" / "mito",
        # Levels halve about their middle, so that a finer one begins a quarter of a voxel earlier.
        [(finer, size / 2, place - size / 4), (labels, size, place)],
        **options,
    )
    return image[2:12, 10:42, 20:68]


def expected_vnc() -> Pixels:
    classes = MITOCHONDRIA.astype(np.uint8)
    classes[:, 0, :5] = 2
    classes[:, 0, 6] = 3
    return classes


def expected_kasthuri() -> Pixels:
    classes = MITOCHONDRIA.astype(np.uint8)
    classes[:, :, :3] = IGNORE
    return classes


PLAIN = MITOCHONDRIA.astype(np.uint8)
LEARN = {"train": range(8), "validation": range(8, 10)}
WAYS = {
    "lucchi": (write_lucchi, PLAIN, [LEARN, {"test": range(10)}]),
    "lucchi_pp": (write_lucchi_pp, PLAIN, [LEARN, {"test": range(10)}]),
    "kasthuri_pp": (write_kasthuri_pp, expected_kasthuri(), [LEARN, {"test": range(10)}]),
    "drosophila_vnc": (
        write_drosophila_vnc,
        expected_vnc(),
        [{"train": range(5), "validation": range(5, 8), "test": range(8, 10)}],
    ),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as server:
        yield server


def local(name: str, url: str) -> PublicSet:
    """The record of a set at a local server, without checksums: these are other pixels."""
    record = PUBLIC_SETS[name]
    files = [
        replace(file, url=f"{url}/{file.url.rpartition('/')[2]}", sha256=None)
        for file in record.files
    ]
    crops = [
        replace(
            crop,
            image=f"{url}/{crop.image.partition('/recon-1/')[2]}",
            labels=f"{url}/{crop.labels.partition('/recon-1/')[2]}",
        )
        for crop in record.crops
    ]
    return replace(record, files=files, crops=crops)


def fetch(name: str, server: FileServer, folder: Path) -> tuple[FetchedSet, str]:
    text = io.StringIO()
    console = Console(file=text, width=1000)
    return fetch_set(name, local(name, server.url), folder, console), text.getvalue()


def left_in(folder: Path) -> set[str]:
    """Names in a folder, and in the one of its descriptions."""
    paths = (*folder.iterdir(), *folder.glob("data/*"))
    return {str(path.relative_to(folder)) for path in paths}


@pytest.mark.parametrize("name", WAYS)
def test_a_set_in_its_layout_becomes_slices(name: str, server: FileServer, tmp_path: Path) -> None:
    write, expected, splits = WAYS[name]
    write(server.folder)
    fetched, text = fetch(name, server, tmp_path / "to")
    slices = load_slices(load_description(str(fetched.description)))
    for volume, split in enumerate(splits):
        for part, positions in split.items():
            of_part = [annotated for annotated in slices[part] if annotated.volume == volume]
            assert [annotated.z for annotated in of_part] == list(positions)
            for annotated in of_part:
                image = IMAGE_OF[("Train", "Test")[volume]][annotated.z]
                np.testing.assert_array_equal(annotated.grey_values, image)
                np.testing.assert_array_equal(annotated.labels, expected[annotated.z])
    assert "which nobody published" in text
    assert not (tmp_path / "to" / f"{name}.downloads").exists()
    asked = len(server.requests)
    assert "is there already" in fetch(name, server, tmp_path / "to")[1]
    assert len(server.requests) == asked


def test_numbered_objects_stay_apart(server: FileServer, tmp_path: Path) -> None:
    write_mitoem_rat(server.folder)
    fetched, _ = fetch("mitoem_rat", server, tmp_path)
    description = load_description(str(fetched.description))
    assert description.classes["mitochondrion"].instances
    slices = load_slices(description)
    assert [len(slices[split]) for split in ("train", "validation", "test")] == [5, 1, 3]
    for split, first in (("train", 0), ("validation", 5), ("test", 6)):
        for z, annotated in enumerate(slices[split], first):
            np.testing.assert_array_equal(annotated.grey_values, IMAGES[z])
            np.testing.assert_array_equal(annotated.labels, PLAIN[z])
            assert annotated.objects is not None
            # Numbers are made small, object by object.
            pairs = zip(annotated.objects.flat, mitoem_numbers()[z].flat, strict=True)
            assert {(int(ours), int(theirs)) for ours, theirs in pairs} in (
                {(0, 0), (1, 300)},
                {(0, 0), (1, 300), (2, 1)},
                {(0, 0), (2, 300), (1, 1)},
            )


def test_a_crop_lies_where_its_translation_says(server: FileServer, tmp_path: Path) -> None:
    expected = write_hela_crop(server.folder)
    fetched, _ = fetch("hela_crop", server, tmp_path)
    slices = load_slices(load_description(str(fetched.description)))
    assert [len(slices[split]) for split in ("train", "validation", "test")] == [6, 2, 2]
    labels = PLAIN.copy()
    labels[:, 31] = IGNORE
    for of_split in slices.values():
        for annotated in of_split:
            np.testing.assert_array_equal(annotated.grey_values, expected[annotated.z])
            np.testing.assert_array_equal(annotated.labels, labels[annotated.z])


@pytest.mark.parametrize("place", ["em", "labels"])
def test_a_chunk_that_lies_about_its_size_is_not_decoded(
    server: FileServer, tmp_path: Path, place: str
) -> None:
    """The decoder of Blosc would read what lies behind it in memory, into the image."""
    write_hela_crop(server.folder, compressors=numcodecs.Blosc())

    for path in (server.folder / place).rglob("[0-9]*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FibsegError, match=r"a chunk has \d+ bytes and says \d+") as caught:
        fetch("hela_crop", server, tmp_path / "to")
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path / "to") == {"data", "hela_crop.downloads"}


def test_of_the_image_of_a_crop_only_the_chunks_around_it_are_read(
    server: FileServer, tmp_path: Path
) -> None:
    write_hela_crop(server.folder)
    fetch("hela_crop", server, tmp_path)
    chunks = {path for path, _ in server.requests if re.search(r"/em/.*/s0/\d", path)}
    # Slices 2 to 11, rows 10 to 41 and columns 20 to 67, in chunks of 4 x 16 x 16.
    assert len(chunks) == 3 * 3 * 4


def test_a_crop_that_is_too_large_for_one_is_refused(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_hela_crop(server.folder)
    monkeypatch.setattr(crops, "_MOST_VOXELS", MITOCHONDRIA.size - 1)
    with pytest.raises(FibsegError, match=r"\(10, 32, 48\) voxels are more than a crop has"):
        fetch("hela_crop", server, tmp_path)


def test_a_crop_without_the_voxels_of_the_image_is_one_sentence(
    server: FileServer, tmp_path: Path
) -> None:
    write_hela_crop(server.folder)
    path = server.folder / "labels/groundtruth/crop1/mito"
    write_picture(path, [(PLAIN, [3, 3, 3], [0, 0, 0])])
    with pytest.raises(FibsegError, match="the record is not what it was"):
        fetch("hela_crop", server, tmp_path)
    assert not (tmp_path / "hela_crop").exists()


def test_other_colours_are_counted(server: FileServer, tmp_path: Path) -> None:
    write_kasthuri_pp(server.folder)
    assert (
        "2 pixels of the label files have values without meaning"
        in (fetch("kasthuri_pp", server, tmp_path)[1])
    )


def test_after_a_break_the_same_command_ends(server: FileServer, tmp_path: Path) -> None:
    write_lucchi(server.folder)
    server.break_after = 5000
    with pytest.raises(FibsegError, match="goes on from there"):
        fetch("lucchi", server, tmp_path / "to")
    assert not (tmp_path / "to" / "lucchi").exists()
    assert not (tmp_path / "to" / "data").exists()
    fetched, _ = fetch("lucchi", server, tmp_path / "to")
    assert server.requests[1] == ("/training.tif", "bytes=5000-")
    np.testing.assert_array_equal(tifffile.imread(fetched.folder / "train" / "image.tif"), IMAGES)


@pytest.mark.parametrize("lacking", ["Lucchi++/Test_Out/3.png", "Lucchi++/Train_In/mask0000.png"])
def test_a_record_that_lacks_a_slice_leaves_nothing_but_its_download(
    server: FileServer, tmp_path: Path, lacking: str
) -> None:
    files = plus_plus("Lucchi++", MITOCHONDRIA * np.uint8(255))
    del files[lacking]
    write_zip(server.folder / "lucchi_pp.zip", files)
    with pytest.raises(FibsegError, match=r"9 (images|labels) .*the record is not what it was"):
        fetch("lucchi_pp", server, tmp_path / "to")
    assert left_in(tmp_path / "to") == {"data", "lucchi_pp.downloads"}


def test_a_folder_of_the_same_name_is_not_touched(server: FileServer, tmp_path: Path) -> None:
    write_lucchi(server.folder)
    (tmp_path / "lucchi").mkdir()
    (tmp_path / "lucchi" / "mine.txt").write_text("mine")
    with pytest.raises(FibsegError, match="exists already"):
        fetch("lucchi", server, tmp_path)
    assert (tmp_path / "lucchi" / "mine.txt").read_text() == "mine"


def test_an_error_after_the_downloads_loses_none_of_them(
    server: FileServer, tmp_path: Path
) -> None:
    write_lucchi(server.folder)
    tifffile.imwrite(server.folder / "testing_groundtruth.tif", MITOCHONDRIA[:5] * np.uint8(255))
    by_hand = tmp_path / "to" / "lucchi.downloads" / "training.tif"
    by_hand.parent.mkdir(parents=True)
    tifffile.imwrite(by_hand, IMAGES)
    with pytest.raises(FibsegError, match="the record is not what it was"):
        fetch("lucchi", server, tmp_path / "to")
    assert left_in(tmp_path / "to") == {"data", "lucchi.downloads"}
    assert len(list(by_hand.parent.glob("*.tif"))) == 4
    (by_hand.parent / "testing_groundtruth.tif").unlink()
    tifffile.imwrite(server.folder / "testing_groundtruth.tif", MITOCHONDRIA * np.uint8(255))
    asked = len(server.requests)
    fetched, _ = fetch("lucchi", server, tmp_path / "to")
    assert len(server.requests) == asked + 1
    np.testing.assert_array_equal(tifffile.imread(fetched.folder / "train" / "image.tif"), IMAGES)
    assert not by_hand.parent.exists()


def fetch_until(killed_in: str, url: str, folder: Path) -> None:
    """Fetch lucchi in a process of its own, and be killed in the second call of a function."""
    module = files if killed_in == "take_place" else fetching
    function = getattr(module, killed_in)
    calls = iter(range(2))

    def call(*arguments: object) -> object:
        if next(calls) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    setattr(module, killed_in, call)
    fetch_set("lucchi", local("lucchi", url), folder, Console(file=io.StringIO()))


@pytest.mark.parametrize("killed_in", ["prepare_volume", "take_place"])
def test_a_kill_after_the_downloads_loses_none_of_them(
    server: FileServer, tmp_path: Path, killed_in: str
) -> None:
    write_lucchi(server.folder)
    process = multiprocessing.get_context("spawn").Process(
        target=fetch_until, args=(killed_in, server.url, tmp_path / "to")
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list((tmp_path / "to").glob(".lucchi.*.partial")) or killed_in == "take_place"
    asked = len(server.requests)
    fetched, _ = fetch("lucchi", server, tmp_path / "to")
    assert len(server.requests) == asked == 4
    assert left_in(tmp_path / "to") == {"data", "data/lucchi.yaml", "lucchi"}
    np.testing.assert_array_equal(tifffile.imread(fetched.folder / "train" / "image.tif"), IMAGES)


def test_two_commands_do_not_fetch_one_set_at_once(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lucchi(server.folder)
    download = fetching.download

    def meanwhile(*arguments: Any) -> str:
        with pytest.raises(FibsegError, match="another command fetches the same set"):
            fetch("lucchi", server, tmp_path)
        return download(*arguments)

    monkeypatch.setattr(fetching, "download", meanwhile)
    fetched, _ = fetch("lucchi", server, tmp_path)
    assert len(server.requests) == 4
    np.testing.assert_array_equal(tifffile.imread(fetched.folder / "train" / "image.tif"), IMAGES)


def test_a_description_without_its_folder_is_not_touched(
    server: FileServer, tmp_path: Path
) -> None:
    write_lucchi(server.folder)
    fetched, _ = fetch("lucchi", server, tmp_path)
    shutil.rmtree(fetched.folder)
    fetched.description.write_text("mine")
    with pytest.raises(FibsegError, match=r"lucchi.yaml: exists already, but .*lucchi does not"):
        fetch("lucchi", server, tmp_path)
    assert fetched.description.read_text() == "mine"
    assert not fetched.folder.exists()


def test_downloads_beside_a_set_that_is_there_stay(server: FileServer, tmp_path: Path) -> None:
    write_lucchi(server.folder)
    fetch("lucchi", server, tmp_path)
    (tmp_path / "lucchi.downloads").mkdir()
    assert "lucchi.downloads: is not needed any more" in fetch("lucchi", server, tmp_path)[1]
    assert (tmp_path / "lucchi.downloads").exists()


def test_the_description_says_where_the_files_came_from(server: FileServer, tmp_path: Path) -> None:
    write_lucchi(server.folder)
    fetched, _ = fetch("lucchi", server, tmp_path)
    text = fetched.description.read_text()
    digest = fetching.download(
        local("lucchi", server.url).files[0], tmp_path / "again", lambda *_: None
    )
    assert f"#   SHA-256 {digest}, which nobody published" in text


def test_every_record_is_complete() -> None:
    for name, record in PUBLIC_SETS.items():
        assert name.isidentifier()
        assert record.volumes or record.crops
        for file in record.files:
            assert file.url.startswith(("https://", "http://"))
            assert (file.sha256 is None) == (file.checksum_by is None)
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32
        splits = [part.split for part in (*record.volumes, *record.crops)]
        assert {"train", "validation", "test"} == set().union(*splits)
