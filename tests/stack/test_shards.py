"""OME-Zarr 0.5 in shards: what other libraries read of it, what is written once, and what is read.

References are ome-zarr's own reader, the models of yaozarrs, and zarr.
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr
from zarr.storage import LocalStore

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack import StackHeader, StackWriter, open_channels, open_stack, read_notes
from fibseg.stack import chunked as chunked_module
from fibseg.stack.output.zarr import create_store, reopen_store, store_slices, write_store_notes
from tests.support.stack_files import loaded_ome_zarr

NOTES = {"classes": {"0": "background", "7": "mitochondrion"}, "source": "../cell.ome.zarr"}

SHAPE = (70, 300, 530)
"""Three slabs, the last of six slices; a slice of 3 x 5 chunks."""

STEPS = [(1, 1, 1), (2, 2, 2), (4, 4, 4)]
"""Of a pyramid with voxels of 7 x 5 x 5 nm."""


def labels_of(shape: tuple[int, ...] = SHAPE) -> Pixels:
    return np.random.default_rng(0).integers(0, 9, shape).astype(np.uint8)


def write(path: Path, data: Pixels, version: str = "0.5", notes: Any = NOTES) -> None:
    header = StackHeader(data.shape, str(data.dtype), (7, 5, 5), notes, ome_zarr=version)
    with StackWriter(path, header) as writer:
        for image in data:
            writer.write(image)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_are_read_by_other_libraries(tmp_path: Path, version: str) -> None:
    path = tmp_path / "labels.ome.zarr"
    data = labels_of()
    write(path, data, version)
    # The validator opens what the labels say that they are of, and wants its axes.
    write(tmp_path / "cell.ome.zarr", data[:1], version, notes={})
    yaozarrs.validate_zarr_store(path)
    metadata = yaozarrs.open_group(path).ome_metadata()
    picture = metadata.multiscales[0]
    assert [(axis.name, axis.unit) for axis in picture.axes] == [(n, "nanometer") for n in "zyx"]
    label = metadata.image_label
    assert [(color.label_value, color.rgba) for color in label.colors] == [
        (0, [0, 0, 0, 0]),
        # Tableau's blue.
        (7, [0x1F, 0x77, 0xB4, 255]),
    ]
    assert label.source.image == "../cell.ome.zarr"
    ome_zarr = loaded_ome_zarr()
    # It follows the source of the labels, too.
    image, node = ome_zarr.reader.Reader(ome_zarr.io.parse_url(path))()
    assert image.zarr.basename() == "cell.ome.zarr"
    assert any(isinstance(spec, ome_zarr.reader.Label) for spec in node.specs)
    assert node.metadata["properties"][7] == {"class": "mitochondrion"}
    transformations = node.metadata["coordinateTransformations"]
    for level, scales, (z, y, x) in zip(node.data, transformations, STEPS, strict=True):
        np.testing.assert_array_equal(np.asarray(level), data[::z, ::y, ::x])
        assert scales == [{"type": "scale", "scale": [7 * z, 5 * y, 5 * x]}]
    stack = open_stack(path)
    np.testing.assert_array_equal(np.stack(list(stack)), data)
    assert stack.voxel_size == (7, 5, 5) and not stack.doubts and read_notes(path) == NOTES


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_channels_are_read_by_other_libraries(tmp_path: Path, version: str) -> None:
    path = tmp_path / "probabilities.zarr"
    names = ("background", "mitochondrion", "er")
    data = labels_of((3, 40, 300, 290))
    header = StackHeader(data.shape[1:], "uint8", (7, 5, 5), {}, names, version)
    create_store(path, header, path.stem)
    slices = store_slices(path, header)
    for z in range(40):
        assert not slices.has(z)
        slices.write(z, data[:, z])
        assert slices.has(z)
    for z in (0, 32):
        slices.pack(z)
    slices.finish()
    write_store_notes(path, header)
    np.testing.assert_array_equal(slices.read(35), data[:, 35])
    yaozarrs.validate_zarr_store(path)
    metadata = yaozarrs.open_group(path).ome_metadata()
    assert [axis.name for axis in metadata.multiscales[0].axes] == ["c", "z", "y", "x"]
    channels = metadata.omero.channels
    assert [channel.label for channel in channels] == list(names)
    assert [channel.color for channel in channels] == ["FFFFFF", "1F77B4", "FF7F0E"]
    assert {(channel.window.start, channel.window.end) for channel in channels} == {(0, 255)}
    ome_zarr = loaded_ome_zarr()
    (node,) = ome_zarr.reader.Reader(ome_zarr.io.parse_url(path))()
    assert node.metadata["channel_names"] == list(names)
    for level, (z, y, x) in zip(node.data, STEPS[:2], strict=True):
        np.testing.assert_array_equal(np.asarray(level), data[:, ::z, ::y, ::x])
    stacks = open_channels(path)
    np.testing.assert_array_equal([list(stack) for stack in stacks], data)
    assert {stack.voxel_size for stack in stacks} == {(7, 5, 5)}
    with pytest.raises(FibsegError, match="several channels"):
        open_stack(path)


def test_a_shard_is_written_once_and_whole(tmp_path: Path, monkeypatch: Any) -> None:
    written: Counter[str] = Counter()
    put = LocalStore.set

    async def counted(self: LocalStore, key: str, value: Any) -> None:
        written[f"{self.root.name}/{key}"] += 1
        await put(self, key, value)

    monkeypatch.setattr(LocalStore, "set", counted)
    path = tmp_path / "labels.zarr"
    write(path, labels_of())
    files = {place for place in path.glob("[0-9]/c/*/*/*") if place.is_file()}
    shards = {name: count for name, count in written.items() if name.split("/")[1:2] == ["c"]}
    assert len(shards) == len(files) == 9 and set(shards.values()) == {1}
    assert not [place for place in path.rglob("*") if "partial" in place.name]
    assert not (path / ".slices").exists()
    # The same slices in another order, by two that share the store.
    header = StackHeader(SHAPE, "uint8", (7, 5, 5), NOTES, ome_zarr="0.5")
    create_store(tmp_path / "other.zarr", header, "labels")
    both = [store_slices(tmp_path / "other.zarr", header) for _ in range(2)]
    for z in np.random.default_rng(1).permutation(SHAPE[0]):
        both[z % 2].write(z, labels_of()[z])
    for z in (64, 0, 32):
        both[z // 32 % 2].pack(z)
    for place in files:
        assert (
            place.read_bytes() == (tmp_path / "other.zarr" / place.relative_to(path)).read_bytes()
        )


def test_slices_of_a_slab_can_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "labels.zarr"
    data = labels_of((34, 40, 50))
    header = StackHeader(data.shape, "uint8", None, None, ome_zarr="0.5")
    create_store(path, header, "labels")
    slices = store_slices(path, header)
    for z in range(34):
        slices.write(z, data[z])
    assert slices.slab(31) == range(32) and slices.slab(33) == range(32, 34)
    slices.pack(3)
    assert slices.is_packed(31) and not slices.is_packed(32)
    slices.unpack(3)
    assert not slices.is_packed(3) and all(slices.has(z) for z in range(34))
    changed = data.copy()
    changed[3] += 1
    slices.clear(3)
    assert not slices.has(3) and slices.has(4)
    slices.write(3, changed[3])
    slices.pack(3)
    slices.pack(32)
    slices.finish()
    np.testing.assert_array_equal([slices.read(z) for z in range(34)], changed)
    # A shard that is lost takes the slices of its slab with it, and no others.
    (path / "0/c/0/0/0").unlink()
    assert [z for z in range(34) if slices.has(z)] == [32, 33]
    reopen_store(path, header)
    slices.write(5, data[5])
    assert slices.has(5)


@pytest.mark.parametrize("channels", [(), ("a", "b")])
def test_a_slab_is_unpacked_shard_by_shard(
    tmp_path: Path, monkeypatch: Any, channels: tuple[str, ...]
) -> None:
    """Each chunk is read once, though not even two slices fit into memory."""
    monkeypatch.setattr(chunked_module, "_LAYER_BYTES", 1)
    data = labels_of((34, *(len(channels),) * bool(channels), 200, 1100))
    header = StackHeader((34, 200, 1100), "uint8", (7, 5, 5), None, channels, ome_zarr="0.5")
    path = tmp_path / "labels.zarr"
    create_store(path, header, "labels")
    slices = store_slices(path, header)
    for z in range(34):
        slices.write(z, data[z])
    kept = {
        place.relative_to(path): place.read_bytes()
        for place in path.glob(".slices/**/*")
        if place.is_file()
    }
    slices.pack(0)
    content = sum(file.stat().st_size for file in path.glob("[0-9]/c/**/*") if file.is_file())
    got = [0]
    get = LocalStore.get

    async def counted(self: LocalStore, key: str, *arguments: Any, **options: Any) -> Any:
        value = await get(self, key, *arguments, **options)
        got[0] += len(value) if value is not None and "c/" in key else 0
        return value

    monkeypatch.setattr(LocalStore, "get", counted)
    slices.unpack(0)
    assert 0 < got[0] <= content
    again = {place: (path / place).read_bytes() for place in kept}
    assert again == kept
    for z in range(34):
        np.testing.assert_array_equal(slices.read(z), data[z])


@pytest.mark.parametrize("survived", range(4))
def test_a_slab_that_is_half_packed_has_its_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """The end comes before each of the three shards, and when some slices are removed."""
    data = labels_of((32, 300, 530))
    header = StackHeader(data.shape, "uint8", (7, 5, 5), NOTES, ome_zarr="0.5")
    whole = tmp_path / "whole.zarr"
    write(whole, data)
    path = tmp_path / "killed.zarr"
    create_store(path, header, "whole")
    slices = store_slices(path, header)
    for z in range(32):
        slices.write(z, data[z])
    count = itertools.count(4 if survived == 3 else 0)
    put = LocalStore.set
    clear = slices.clear

    async def set_some(self: LocalStore, key: str, value: Any) -> None:
        if next(count) == survived:
            raise RuntimeError("killed")
        await put(self, key, value)

    def clear_some(z: int) -> None:
        if z == 16:
            raise RuntimeError("killed")
        clear(z)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "set", set_some)
        patch.setattr(slices, "clear", clear_some)
        with pytest.raises(RuntimeError, match="killed"):
            slices.pack(0)
    if survived < 3:
        # What a kill leaves of the shard that it was writing.
        (path / "0/c/0/0").mkdir(parents=True, exist_ok=True)
        (path / "0/c/0/0/0.1234.partial").write_bytes(b"half")
    again = store_slices(path, header)
    assert all(again.has(z) for z in range(32))
    again.pack(0)
    again.finish()
    write_store_notes(path, header)
    files = {place.relative_to(whole) for place in whole.rglob("*") if place.is_file()}
    assert files == {place.relative_to(path) for place in path.rglob("*") if place.is_file()}
    assert all((whole / name).read_bytes() == (path / name).read_bytes() for name in files)


ARRAYS: dict[str, dict[str, Any]] = {
    "2": {"zarr_format": 2, "chunks": (4, 16, 24)},
    "2, one chunk": {"zarr_format": 2, "chunks": (9, 40, 50)},
    "2, larger chunks": {"zarr_format": 2, "chunks": (64, 64, 64)},
    "3": {"chunks": (4, 16, 24)},
    "3, shards": {"chunks": (3, 8, 10), "shards": (6, 16, 20)},
    "3, one shard": {"chunks": (2, 8, 8), "shards": (10, 40, 56)},
    "3, shards, turned": {
        "chunks": (4, 8, 10),
        "shards": (8, 16, 20),
        "filters": [zarr.codecs.TransposeCodec(order=(2, 1, 0))],
    },
    "3, gzip": {"chunks": (1, 40, 50), "compressors": zarr.codecs.GzipCodec()},
    "3, plain": {"chunks": (5, 7, 11), "compressors": None},
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("most", [2**29, 40 * 50 * 4, 1])
def test_any_chunks_are_read(tmp_path: Path, monkeypatch: Any, kind: str, most: int) -> None:
    """With room for all slices, for four of them, and for one."""
    monkeypatch.setattr(chunked_module, "_LAYER_BYTES", most)
    data = labels_of((9, 40, 50))
    zarr.create_array(tmp_path / "a.zarr", data=data, **ARRAYS[kind])
    stack = open_stack(tmp_path / "a.zarr")
    np.testing.assert_array_equal([stack.read(z) for z in (8, *range(8))], data[[8, *range(8)]])
    assert stack.layer * 40 * 50 <= max(most, 40 * 50)


@pytest.mark.parametrize(("most", "layer"), [(64, 32), (20, 16), (7, 7)])
def test_a_chunk_of_a_shard_is_read_once(
    tmp_path: Path, monkeypatch: Any, most: int, layer: int
) -> None:
    """As long as a layer of chunks fits into the memory that slices may take."""
    monkeypatch.setattr(chunked_module, "_LAYER_BYTES", most * 64 * 64)
    data = labels_of((64, 64, 64))
    zarr.create_array(tmp_path / "a.zarr", data=data, chunks=(16, 32, 32), shards=(32, 64, 64))
    content = sum(file.stat().st_size for file in (tmp_path / "a.zarr").glob("c/*/*/*"))
    stack = open_stack(tmp_path / "a.zarr")
    assert stack.layer == layer
    got = [0]
    get = LocalStore.get

    async def counted(self: LocalStore, *arguments: Any, **options: Any) -> Any:
        value = await get(self, *arguments, **options)
        got[0] += len(value) if value is not None else 0
        return value

    monkeypatch.setattr(LocalStore, "get", counted)
    np.testing.assert_array_equal(np.stack(list(stack)), data)
    # The index of a shard, of 8 chunks, is read anew for each layer: 16 bytes a chunk, and a sum.
    index = 8 * 16 + 4
    if layer == 7:
        assert got[0] > 2 * content
    else:
        assert content - 2 * index <= got[0] <= content + 4 * index


def test_a_shard_need_not_fit_into_the_memory(tmp_path: Path, monkeypatch: Any) -> None:
    """A chunk of it must, and the list of its chunks."""
    monkeypatch.setattr("fibseg.stack.base.free_memory", lambda: 30_000)
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=(64, 64, 64),
        dtype="uint8",
        chunks=(8, 16, 16),
        shards=(64, 64, 64),
        fill_value=3,
    )
    assert open_stack(tmp_path / "a.zarr").read(5).max() == 3
    assert array.nbytes > 30_000
    zarr.create_array(
        tmp_path / "b.zarr",
        shape=(64, 64, 64),
        dtype="uint8",
        chunks=(1, 1, 64),
        shards=(64, 64, 64),
    )
    with pytest.raises(FibsegError, match="a chunk needs"):
        open_stack(tmp_path / "b.zarr")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"zstd"', '"jpegxl9"', "its compression is not known here (Unknown codec: 'jpegxl9')"),
        ('"zarr_format": 3', '"zarr_format": 4', "this kind of Zarr is not known here (Invalid"),
        ('"regular"', '"rectangular"', "this kind of Zarr is not known here (Unknown chunk grid"),
        ('"0.5"', '"0.9"', "OME-Zarr of version 0.9; expected 0.1 to 0.5, or an array in it"),
    ],
)
def test_what_is_not_known_is_one_sentence(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    path = tmp_path / "labels.zarr"
    write(path, labels_of((2, 30, 30)))
    for file in (path / "zarr.json", path / "0" / "zarr.json"):
        text = file.read_text()
        file.write_text(text.replace(old, new))
    with pytest.raises(FibsegError) as error:
        open_stack(path)
    assert sentence in str(error.value) and "\n" not in str(error.value)
