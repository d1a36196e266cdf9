"""Zips and descriptions that are hostile or damaged: each is a sentence, and fills no memory."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fibseg.errors import FibsegError
from fibseg.models.foreign.opening import open_model
from tests.support.packages import TEST_INPUT, npy, refused, write_package


@pytest.mark.parametrize(
    "text",
    [
        "a: !!timestamp abc",
        "a: !!bool maybe",
        "a: !!int ''",
        "a: !!float ''",
        "a: !!binary '='",
        "? [a, {b: c}]\n: 1",
        "a: !!python/object/apply:os.system [ls]",
        "[" * 100_000,
        "a: \ud83d".encode("utf-8", "surrogatepass").decode("latin-1"),
        "a: 2024-99-99",
    ],
)
def test_values_that_are_none_of_their_type(path: Path, text: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bioimageio.yaml", text)
    refused(path, r"bioimageio\.yaml is no YAML|does not fit bioimage\.io's format")


def test_merge_keys_do_not_multiply(path: Path) -> None:
    lines = ["a0: &a0 {k0: 1, l0: 1}"]
    for k in range(1, 25):
        lines.append(f"a{k}: &a{k}\n  <<: [{', '.join([f'*a{k - 1}'] * 9)}]\n  k{k}: 1")
    for text in ("\n".join(lines), "a: &a {<<: *a}"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("bioimageio.yaml", text)
        refused(path, r"more than 100000 values once its aliases \(\*\) are written out")


def test_numbers_that_take_long_to_read_are_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bioimageio.yaml", "a: 1" + ":59" * 100_000)
    refused(path, "has a number of 300001 letters")


def test_a_damaged_stream_is_a_sentence(path: Path) -> None:
    write_package(path)
    files = {}
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        entries = archive.infolist()
    intact = path.read_bytes()
    for entry in entries:
        content = bytearray(intact)
        start = entry.header_offset + 30 + len(entry.filename)
        content[start : start + 8] = b"\xff" * 8
        path.write_bytes(content)
        refused(path, f"{entry.filename} is damaged")


@pytest.mark.parametrize("name", ["weights.onnx", "input.npy"])
def test_a_file_that_unpacks_to_much_is_not_unpacked(path: Path, name: str) -> None:
    # Noise keeps the package as a whole below any ratio.
    noise = np.random.default_rng(0).bytes(1_000_000)
    large = bytes(150_000_000)
    if name == "input.npy":
        write_package(path, test_input=large)
    else:
        write_package(path, graph=large)
    with zipfile.ZipFile(path) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in {**files, "noise": noise}.items():
            archive.writestr(entry, content)
    del files, large, content
    tracemalloc.start()
    refused(path, rf"{name} has .* MB that unpack to 150 MB; it is not read")
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_other_methods_of_packing_are_refused(path: Path) -> None:
    """Python unpacks these whole, whatever size their entry states."""
    write_package(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("notes", b"0" * 1000)
    refused(path, "'notes' is packed by another method than deflate")


@pytest.mark.parametrize(
    "array", [np.array("a"), np.zeros(3, "i4,f4"), np.zeros((1, 1, 64, 48), complex)]
)
def test_test_tensors_that_are_no_numbers(path: Path, array: np.ndarray) -> None:
    write_package(path, test_input=npy(array))
    refused(path, r"input\.npy is no array of numbers")
    write_package(path, test_output=array)
    refused(path, r"output\.npy is no array of numbers")


def test_a_tensor_that_states_a_shape_beyond_its_bytes(path: Path) -> None:
    content = npy(TEST_INPUT).replace(b"(1, 1, 64, 48)", b"(1, 9999999999)")
    write_package(path, test_input=content)
    refused(path, r"input\.npy is no array of numbers")


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/weights", "a/../../b", "..\\b", "c:\\b"])
def test_a_name_that_leaves_the_package_is_refused(path: Path, name: str) -> None:
    write_package(path, more={name: b"0"})
    with pytest.raises(FibsegError, match="which leaves the package; it is not read"):
        open_model(path)


def test_links_are_refused(path: Path) -> None:
    write_package(path)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(FibsegError, match="'link', which leaves the package"):
        open_model(path)


def test_files_that_are_no_package(path: Path) -> None:
    with pytest.raises(FibsegError, match=r"model\.zip: no such file"):
        open_model(path)
    path.write_bytes(b"hello")
    with pytest.raises(FibsegError, match=r"model\.zip: no zip, or a damaged one"):
        open_model(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FibsegError, match=r"no package of bioimage\.io: it holds no bioimageio\."):
        open_model(path)
    for text in ("- 1", "a: [", "\x00"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("bioimageio.yaml", text)
        with pytest.raises(FibsegError, match=r"bioimageio\.yaml (is no YAML|describes nothing)"):
            open_model(path)


def test_aliases_that_multiply_are_refused(path: Path) -> None:
    lines = ["a0: &a0 [1, 1]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 30)]
    for text in ("\n".join(lines), "a: &a [*a]"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("bioimageio.yaml", text)
        with pytest.raises(FibsegError, match=r"more than 100000 values once its aliases \(\*\)"):
            open_model(path)
