"""Damaged files: a sentence, a warning, the same pixels, or bytes that no checksum guards."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fibseg.errors import FibsegError
from fibseg.stack import open_stack
from tests.support import stack_files
from tests.support.mutations import FORMATS, outcome, random_damage, write_whole_stack, zarr_of

DAMAGES = int(os.environ.get("FIBSEG_FUZZ", "300"))
"""Damaged files over all formats; 2000 take a minute and a half."""

GOOD = {"refused", "same", "warned", "honest"}


@pytest.mark.slow(seconds=12)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files(tmp_path: Path) -> None:
    """A hang, in C too, ends this process, and so does a crash of the interpreter."""
    wholes = [
        write_whole_stack(tmp_path / str(number), form)
        for number, form in enumerate(FORMATS.values())
    ]
    generator = np.random.default_rng(18)
    outcomes: Counter[str] = Counter()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in range(DAMAGES):
        whole = wholes[number % len(wholes)]
        signal.alarm(30)
        outcomes[outcome(whole, random_damage(generator), tmp_path / "copy")] += 1
        signal.alarm(0)
    print(f"{DAMAGES} damaged files: {dict(outcomes)}")
    assert not set(outcomes) - GOOD
    # Damage that is never noticed, or always, would be a test that damages nothing.
    assert outcomes["refused"] > DAMAGES / 2
    assert outcomes["same"] > 0
    assert outcomes["honest"] > 0


@pytest.mark.filterwarnings("ignore")
def test_a_whole_stack_passes_the_same_way(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    for number, (name, form) in enumerate(FORMATS.items()):
        whole = write_whole_stack(tmp_path / str(number), form)
        expected = stack_files.pixels(form.dtype)
        np.testing.assert_array_equal(
            whole.pixels, expected % 7 if name == "PNG, palette" else expected
        )


def blosc_2(**options: object) -> Callable[[Path, np.ndarray], str]:
    import numcodecs

    return zarr_of(zarr_format=2, compressors=numcodecs.Blosc(**options))


def blosc_3(**options: object) -> Callable[[Path, np.ndarray], str]:
    import zarr

    return zarr_of(compressors=zarr.codecs.BloscCodec(**options))


def in_shards(path: Path, data: np.ndarray) -> str:
    import zarr

    zarr.create_array(
        path / "a.zarr",
        data=data,
        chunks=(1, 16, 16),
        shards=(2, 64, 64),
        compressors=zarr.codecs.BloscCodec(),
    )
    return str(path / "a.zarr")


@pytest.mark.parametrize(
    "write", [blosc_2(), blosc_2(cname="zstd", shuffle=2), blosc_3(), in_shards]
)
def test_a_cut_chunk_of_blosc_is_noticed(
    write: Callable[[Path, np.ndarray], str], tmp_path: Path
) -> None:
    """Blosc reads on behind a chunk, into whatever lies in memory there."""
    data = (np.arange(5 * 37 * 53) // 40 % 251).astype(np.uint8).reshape(5, 37, 53)
    path = write(tmp_path, data)
    np.testing.assert_array_equal(list(open_stack(path)), data)
    chunk = max(
        (file for file in Path(path).rglob("*") if file.is_file() and file.suffix != ".json"),
        key=lambda file: file.stat().st_size,
    )
    content = chunk.read_bytes()
    for length in np.linspace(0, len(content) - 1, 25).astype(int):
        chunk.write_bytes(content[:length])
        with pytest.raises(FibsegError, match="damaged"):
            list(open_stack(path))
