"""Damaged bytes: a sentence or a right result, never a crash of the interpreter, never a hang."""

from __future__ import annotations

import shutil
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fibseg.errors import FibsegError
from fibseg.stack import open_stack
from tests.support import stack_files as formats

FORMATS = {
    "bigtiff": formats.bigtiff,
    "tiled TIFF": formats.tiled_tiff,
    "OME-TIFF": formats.ome_tiff,
    "ImageJ": formats.imagej,
    "ImageJ block": formats.imagej_block,
    "HDF5": formats.hdf5,
    "ilastik": formats.ilastik,
    "MRC": formats.mrc,
    "NIfTI": formats.nifti,
    "Zarr 2": formats.zarr_2,
    "Zarr 3": formats.zarr_3,
    "OME-Zarr": formats.ome_zarr_of("0.4"),
    "PNG": formats.png_slices,
}
DTYPES = {"MRC": "uint16"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Name of a format -> a folder with one stack, and the path of the stack in it."""
    stacks = {}
    for name, write in FORMATS.items():
        folder = tmp_path_factory.mktemp(name.replace(" ", ""))
        path = write(folder, formats.pixels(DTYPES.get(name, "uint8")))
        stacks[name] = (folder, path.removeprefix(f"{folder}").removeprefix("/"))
    return stacks


damages = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
    st.tuples(st.just("flip"), st.floats(0, 1), st.integers(1, 255)),
    st.tuples(st.just("flip the head"), st.floats(0, 0.02), st.integers(1, 255)),
    st.tuples(st.just("zeros"), st.floats(0, 1), st.integers(1, 64)),
)


def damage(content: bytes, kind: str, where: float, number: int) -> bytes:
    at = min(int(where * len(content)), len(content) - 1)
    if kind == "cut":
        return content[:at]
    if kind == "zeros":
        return content[:at] + bytes(number) + content[at + number :]
    return content[:at] + bytes([content[at] ^ number]) + content[at + 1 :]


@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=60,
    deadline=5000,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(damaged=damages, choice=st.integers(0, 1000))
def test_damaged_bytes(
    name: str,
    damaged: tuple[str, float, int],
    choice: int,
    whole: dict[str, tuple[Path, str]],
    tmp_path: Path,
) -> None:
    folder, inside = whole[name]
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    chosen = files[choice % len(files)]
    chosen.write_bytes(damage(chosen.read_bytes(), *damaged))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # A hang, in C too, ends this process, and the test with it.
    signal.alarm(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stack = open_stack(f"{copy}/{inside}")
            assert min(stack.shape) > 0
            for z in {0, stack.shape[0] - 1}:
                pixels = stack.read(z)
                assert pixels.shape == stack.shape[1:]
                assert pixels.dtype == stack.dtype
        except FibsegError as error:
            outcome = str(error)
        else:
            outcome = "read"
    signal.alarm(0)
    assert len(outcome.splitlines()) == 1


def test_a_whole_stack_passes_the_same_way(whole: dict[str, tuple[Path, str]]) -> None:
    """Else the test above could not fail."""
    for name, (folder, inside) in whole.items():
        stack = open_stack(f"{folder}/{inside}")
        np.testing.assert_array_equal(
            np.stack(list(stack)), formats.pixels(DTYPES.get(name, "uint8"))
        )
