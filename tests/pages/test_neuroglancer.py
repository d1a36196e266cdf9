"""Pictures for Neuroglancer: the state of the viewer, and a server of files that knows ranges."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import imagecodecs
import numpy as np
import pytest
import zarr

from fibseg.errors import FibsegError
from fibseg.pages.neuroglancer.server import PictureServer, byte_range, serving_pictures
from fibseg.pages.neuroglancer.state import open_picture, viewer_link, viewer_state
from fibseg.stack import StackHeader, StackWriter, open_stack
from fibseg.stack.output.zarr import create_store, store_slices, write_store_notes

SHAPE = (20, 150, 140)

NOTES = {"classes": {"0": "background", "7": "mitochondrion", "9": "ER"}}

VIEWER = "https://viewer.example/"


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of 0.5, an image of 0.4 and probabilities of 0.5."""
    folder = tmp_path_factory.mktemp("pictures")
    headers = {
        "labels.zarr": StackHeader(SHAPE, "uint8", (7, 5, 4), NOTES, ome_zarr="0.5"),
        "a cell#1.zarr": StackHeader(SHAPE, "uint8", (7, 5, 4)),
    }
    for name, header in headers.items():
        with StackWriter(folder / name, header) as writer:
            for image in pixels():
                writer.write(image)
    names = ("background", "mitochondrion")
    path = folder / "probabilities.zarr"
    header = StackHeader(SHAPE, "uint8", (7, 5, 4), {}, names, "0.5")
    create_store(path, header, "probabilities")
    slices = store_slices(path, header)
    for z, image in enumerate(pixels()):
        slices.write(z, np.stack([image, 255 - image]))
    slices.pack(0)
    slices.finish()
    write_store_notes(path, header)
    (folder / "secret.txt").write_text("secret")
    (folder / "labels.zarr" / "away").symlink_to(folder / "secret.txt")
    (folder / "labels.zarr" / "beside").symlink_to(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[PictureServer]:
    names = ("labels.zarr", "a cell#1.zarr", "probabilities.zarr")
    with serving_pictures([open_picture(folder / name) for name in names], 0) as server:
        yield server


def ask(address: str, method: str = "GET", **heads: str) -> tuple[int, dict[str, str], bytes]:
    """Status, heads in small letters, and bytes of an answer; the path is sent as it is."""
    host, _, path = address.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request(method, f"/{path}", headers=heads)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_files_are_served_to_pages_of_other_servers(server: PictureServer, folder: Path) -> None:
    address = f"{server.addresses[0]}labels.zarr/zarr.json"
    assert address.startswith("http://127.0.0.1:")
    status, heads, content = ask(address, Origin="https://viewer.example")
    assert status == 200 and content == (folder / "labels.zarr" / "zarr.json").read_bytes()
    assert heads["access-control-allow-origin"] == "*"
    assert "Content-Range" in heads["access-control-expose-headers"]
    assert heads["content-type"] == "application/json" and heads["accept-ranges"] == "bytes"
    status, preflight, _ = ask(
        address,
        "OPTIONS",
        **{
            "Origin": "https://viewer.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "range",
            "Access-Control-Request-Private-Network": "true",
        },
    )
    assert status == 204 and preflight["access-control-allow-origin"] == "*"
    assert preflight["access-control-allow-private-network"] == "true"
    assert preflight["access-control-allow-headers"] == "Range"
    assert "GET" in preflight["access-control-allow-methods"]
    status, head, nothing = ask(address, "HEAD")
    assert (status, nothing, int(head["content-length"])) == (200, b"", len(content))
    assert ask(address, "POST")[0] == 501 and ask(address, "DELETE")[0] == 501


def test_ranges_of_a_shard(server: PictureServer, folder: Path) -> None:
    """A chunk is read as a viewer does it: the length, the list of chunks, then the chunk."""
    name = "labels.zarr/0/c/0/0/0"
    address = f"{server.addresses[0]}{name}"
    shard = (folder / name).read_bytes()
    size = int(ask(address, "HEAD")[1]["content-length"])
    assert size == len(shard)
    # 2 x 2 x 2 chunks, 16 bytes for each, and a checksum of 4 bytes (zarr-specs, sharding-indexed).
    status, heads, index = ask(address, Range="bytes=-132")
    assert status == 206 and index == shard[-132:]
    assert heads["content-range"] == f"bytes {size - 132}-{size - 1}/{size}"
    places = np.frombuffer(index[:-4], "<u8").reshape(2, 2, 2, 2)
    start, length = places[0, 1, 0].tolist()
    status, heads, chunk = ask(address, Range=f"bytes={start}-{start + length - 1}")
    assert status == 206 and len(chunk) == length == int(heads["content-length"])
    values = np.frombuffer(imagecodecs.zstd_decode(chunk), np.uint8).reshape(16, 128, 128)
    np.testing.assert_array_equal(values[:, :22], pixels()[:16, 128:, :128])
    assert ask(address, Range=f"bytes={size - 5}-")[2] == shard[-5:]
    assert ask(address, Range=f"bytes=0-{size + 99}")[2] == shard
    status, heads, nothing = ask(address, Range=f"bytes={size}-")
    assert (status, nothing, heads["content-range"]) == (416, b"", f"bytes */{size}")
    assert ask(address, Range="bytes=-0")[0] == 416
    for wrong in ("bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5", "bytes=-"):
        assert ask(address, Range=wrong)[0::2] == (200, shard)
    assert byte_range("", 10) is None and byte_range("bytes=0-", 0) == (0, 0)


def test_zarr_reads_over_the_server(server: PictureServer) -> None:
    labels, image, _ = server.addresses
    for address in (f"{labels}labels.zarr", f"{image}a%20cell%231.zarr"):
        stack = open_stack(address)
        assert stack.voxel_size == (7, 5, 4)
        np.testing.assert_array_equal(np.stack(list(stack)), pixels())
    array = zarr.open_array(f"{labels}labels.zarr/0", mode="r")
    np.testing.assert_array_equal(array[3:5, 100:140], pixels()[3:5, 100:140])


@pytest.mark.parametrize(
    "path",
    [
        "0/labels.zarr/",
        "0/labels.zarr",
        "0/labels.zarr/0",
        "0/labels.zarr/0/c/9/9/9",
        "0/labels.zarr/../secret.txt",
        "0/labels.zarr/..%2f..%2fsecret.txt",
        "0/labels.zarr/%2e%2e/secret.txt",
        "0/labels.zarr/away",
        "0/labels.zarr/beside/secret.txt",
        "0/labels.zarr//etc/passwd",
        "0/labels.zarr/%00",
        "0/secret.txt",
        "0/../secret.txt",
        "1/labels.zarr/zarr.json",
        "7/labels.zarr/zarr.json",
        "-1/labels.zarr/zarr.json",
        "",
    ],
)
def test_nothing_else_is_served(server: PictureServer, path: str) -> None:
    status, heads, content = ask(server.addresses[0].removesuffix("0/") + path)
    assert (status, content) == (404, b"There is no such file.")
    assert heads["access-control-allow-origin"] == "*"


def test_the_token_is_asked_for(server: PictureServer) -> None:
    address = f"{server.addresses[0]}labels.zarr/zarr.json"
    assert ask(address)[0] == 200
    assert ask(address.replace(server.token, "token"))[0] == 404
    assert ask(address.replace(f"{server.token}/", ""))[0] == 404
    assert server.server_address[0] == "127.0.0.1"


def test_the_state_names_and_colours_what_is_shown(server: PictureServer, folder: Path) -> None:
    names = ("labels.zarr", "a cell#1.zarr", "probabilities.zarr")
    pictures = [open_picture(folder / name) for name in names]
    state = viewer_state(pictures, server.addresses)
    assert state["dimensions"] == {"x": [4e-09, "m"], "y": [5e-09, "m"], "z": [7e-09, "m"]}
    assert state["position"] == [70, 75, 10]
    image, background, mitochondria, labels = state["layers"]
    low, high = np.percentile(pixels()[10], [0.1, 99.9])
    assert image["type"] == "image" and image["name"] == "a cell#1.zarr"
    assert image["shaderControls"] == {"normalized": {"range": [low, high]}}
    # Neuroglancer divides sources at |, and the path of an address at #.
    assert image["source"] == f"{server.addresses[1]}a%20cell%231.zarr/|zarr2:"
    assert labels["type"] == "segmentation" and labels["segments"] == ["7", "9"]
    assert labels["segmentColors"] == {"7": "#1f77b4", "9": "#ff7f0e"}
    source, properties = labels["source"]
    assert source == f"{server.addresses[0]}labels.zarr/|zarr3:"
    place, _, kind = properties.partition("|")
    assert kind == "neuroglancer-precomputed:"
    info = json.loads(ask(f"{place}info")[2])
    assert info == {
        "@type": "neuroglancer_segment_properties",
        "inline": {
            "ids": ["7", "9"],
            "properties": [{"id": "label", "type": "label", "values": ["mitochondrion", "ER"]}],
        },
    }
    assert background["visible"] is False and mitochondria["visible"] is True
    assert mitochondria["localPosition"] == [1]
    assert 'default="#1f77b4"' in mitochondria["shader"]
    assert mitochondria["shaderControls"] == {"normalized": {"range": [0, 255]}}
    link = viewer_link(VIEWER, state)
    address, _, fragment = link.partition("#!")
    assert address == VIEWER and json.loads(unquote(fragment)) == state
    assert not set(' "<>{}|\\^`#') & set(fragment) and urlsplit(link).fragment == f"!{fragment}"


def test_objects_and_flat_images(tmp_path: Path) -> None:
    for name, notes in (("objects.zarr", {"holds": "objects"}), ("flat.zarr", {})):
        header = StackHeader((2, 30, 30), "uint32", None, notes)
        with StackWriter(tmp_path / name, header) as writer:
            for _ in range(2):
                writer.write(np.full((30, 30), 3, np.uint32))
    objects, flat = (open_picture(tmp_path / name) for name in ("objects.zarr", "flat.zarr"))
    state = viewer_state([objects, flat], ["http://a/0/", "http://a/1/"])
    assert state["dimensions"] == {axis: [1, ""] for axis in "xyz"}
    image, labels = state["layers"]
    assert image["shaderControls"] == {"normalized": {"range": [3, 4]}}
    assert labels["type"] == "segmentation" and labels["segments"] == []
    assert labels["source"] == "http://a/0/objects.zarr/|zarr2:"
    with StackWriter(
        tmp_path / "cell.zarr", StackHeader((1, 30, 30), "uint8", (7, 5, 4))
    ) as writer:
        writer.write(np.zeros((30, 30), np.uint8))
    with pytest.raises(FibsegError, match=r"flat\.zarr: has no voxel size, but another picture"):
        viewer_state([open_picture(tmp_path / "cell.zarr"), flat], ["http://a/0/", "http://a/1/"])


def test_the_background_is_left_out_whatever_its_value(tmp_path: Path) -> None:
    notes = {"classes": {"1": "background", "2": "mitochondrion"}}
    header = StackHeader((2, 30, 30), "uint8", (7, 5, 4), notes)
    with StackWriter(tmp_path / "labels.zarr", header) as writer:
        for _ in range(2):
            writer.write(np.ones((30, 30), np.uint8))
    (layer,) = viewer_state([open_picture(tmp_path / "labels.zarr")], ["http://a/0/"])["layers"]
    assert layer["segments"] == ["2"] and list(layer["segmentColors"]) == ["2"]


def test_metadata_of_other_programs(tmp_path: Path) -> None:
    """Channels without a word of them, colours that are none, keys that are missing."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    array = group.create_array("s0", shape=(3, 2, 20, 20), dtype="uint16", chunks=(1, 2, 20, 20))
    array[:] = np.arange(3 * 2 * 400).reshape(array.shape)
    axes = [{"name": axis, "type": "channel" if axis == "c" else "space"} for axis in "czyx"]
    multiscale = {"axes": axes, "datasets": [{"path": "s0"}]}
    channels = [{"color": '0"/*}', "window": {"start": 1, "end": 9}}, {"color": "00FF00"}]
    ome = {"version": "0.5", "multiscales": [multiscale], "omero": {"channels": channels}}
    group.attrs["ome"] = ome
    state = viewer_state([open_picture(tmp_path / "a.zarr")], ["http://a/0/"])
    assert [layer["name"] for layer in state["layers"]] == [f"a.zarr {k}" for k in range(3)]
    shaders = [layer["shader"] for layer in state["layers"]]
    assert ["#ffffff" in shaders[0], "#00ff00" in shaders[1], "#ffffff" in shaders[2]] == [True] * 3
    ranges = [layer["shaderControls"]["normalized"]["range"] for layer in state["layers"]]
    assert ranges[0] == [1, 9]
    assert ranges[2] == pytest.approx(np.percentile(array[2, 1], [0.1, 99.9]))
    short = {"colors": [{"label-value": 3, "rgba": [1, 2, 3]}]}
    group.attrs["ome"] = ome | {"image-label": short}
    assert open_picture(tmp_path / "a.zarr").colors == {"3": "#010203"}
    group.attrs["ome"] = ome | {"image-label": {"colors": [{"rgba": [1, 2, 3, 4]}]}}
    with pytest.raises(FibsegError, match=r"a\.zarr: cannot be read"):
        open_picture(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("scale", "unit", "metres"),
    [
        (7, "nanometer", 7e-9),
        (5e-9, "nanometer", 5e-18),
        (8e-05, "nanometer", 8e-14),
        (0.1, "micrometer", 1e-7),
        (1e8, "meter", 1e8),
        (1e200, "meter", 1e200),
    ],
)
def test_voxel_sizes_of_any_length(tmp_path: Path, scale: float, unit: str, metres: float) -> None:
    """Lengths that Python prints with an exponent, too."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    group.create_array("s0", data=pixels())
    axes = [{"name": axis, "type": "space", "unit": unit} for axis in "zyx"]
    steps = [{"type": "scale", "scale": [scale] * 3}]
    datasets = [{"path": "s0", "coordinateTransformations": steps}]
    multiscale = {"axes": axes, "datasets": datasets}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    state = viewer_state([open_picture(tmp_path / "a.zarr")], ["http://a/0/"])
    assert state["dimensions"] == {axis: [metres, "m"] for axis in "xyz"}


def test_what_is_no_picture_is_refused(tmp_path: Path, folder: Path) -> None:
    zarr.create_array(tmp_path / "plain.zarr", data=pixels())
    for path in (tmp_path, tmp_path / "plain.zarr", folder / "labels.zarr" / "0"):
        with pytest.raises(FibsegError, match=r"no OME-Zarr; expected a folder whose \.zattrs or"):
            open_picture(path)
    with pytest.raises(FibsegError, match="no such folder"):
        open_picture(tmp_path / "none.zarr")
