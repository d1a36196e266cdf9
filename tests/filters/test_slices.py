"""Many slices: each filtered once, in processes, and kept on disk whole or not at all."""

import errno
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fibseg.errors import FibsegError
from fibseg.filters import slices as module
from fibseg.filters.grain import grain_filter
from fibseg.filters.slices import cache_key, filter_slices


@pytest.fixture
def stack() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (24 + z, 30), dtype=np.uint8) for z in range(4)]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The areas of each call of grain_filter by filter_slices."""
    calls: list[list[int]] = []

    def count(image: np.ndarray, limits: list[int]) -> np.ndarray:
        calls.append(list(limits))
        return grain_filter(image, limits)

    monkeypatch.setattr(module, "grain_filter", count)
    return calls


def equal(results: list[np.ndarray], stack: list[np.ndarray], limits: list[int]) -> bool:
    return len(results) == len(stack) and all(
        np.array_equal(result, grain_filter(image, limits))
        for result, image in zip(results, stack, strict=True)
    )


def test_a_second_call_computes_nothing(
    stack: list[np.ndarray], tmp_path: Path, counted: list[list[int]]
) -> None:
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        results = filter_slices(
            stack, [3, 7], tmp_path / "new" / "cache", 1, lambda *step: seen.append(step)
        )
        assert equal(results, stack, [3, 7])
    assert counted == [[3, 7]] * 4
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)] * 2
    names = {f"{cache_key(image, area)}.npy" for image in stack for area in (3, 7)}
    assert {
        path.name for path in (tmp_path / "new" / "cache").iterdir() if path.suffix != ".lock"
    } == names


def test_only_what_is_missing_is_computed(
    stack: list[np.ndarray], tmp_path: Path, counted: list[list[int]]
) -> None:
    filter_slices(stack[:2], [3], tmp_path, 1)
    seen: list[tuple[int, int]] = []
    results = filter_slices(stack[:3], [9, 3, 9], tmp_path, 1, lambda *step: seen.append(step))
    assert equal(results, stack[:3], [9, 3, 9])
    assert counted == [[3], [3], [9], [9], [9, 3]]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_two_at_once_compute_each_slice_once(
    stack: list[np.ndarray],
    tmp_path: Path,
    counted: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = module.grain_filter
    monkeypatch.setattr(module, "grain_filter", lambda *given: (time.sleep(0.05), count(*given))[1])
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(filter_slices, stack, [3, 7], tmp_path, 1) for _ in range(2)]
    assert all(equal(one.result(), stack, [3, 7]) for one in both)
    assert counted == [[3, 7]] * 4


def test_without_a_cache_nothing_is_kept(stack: list[np.ndarray], counted: list[list[int]]) -> None:
    for _ in range(2):
        assert equal(filter_slices(stack, [3], None, 1), stack, [3])
    assert len(counted) == 8


def test_no_slice_and_no_area(
    stack: list[np.ndarray], tmp_path: Path, counted: list[list[int]]
) -> None:
    assert filter_slices([], [3], tmp_path, 2) == []
    assert [result.shape for result in filter_slices(stack[:1], [], tmp_path, 2)] == [(0, 24, 30)]
    assert counted == []


def test_keys_differ_by_area_pixels_shape_and_type() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    variants = [
        image,
        image[::-1],
        image.reshape(4, 3),
        image.view(np.int16),
        image.astype(np.uint16),
    ]
    variants += [image.astype(">u2"), image.view(np.int8)]
    keys = {cache_key(variant, area) for variant in variants for area in (1, 2, 12)}
    assert len(keys) == 3 * len(variants)
    assert cache_key(np.asfortranarray(image), 2) == cache_key(image, 2)


def test_cached_files_are_plain_npy(stack: list[np.ndarray], tmp_path: Path) -> None:
    (result,) = filter_slices(stack[:1], [3], tmp_path, 1)
    assert np.array_equal(np.load(tmp_path / f"{cache_key(stack[0], 3)}.npy"), result[0])


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:0],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
        lambda content: content + b"\0",
    ],
    ids=["empty", "half", "one byte short", "zeros", "one bit flipped", "longer"],
)
def test_a_damaged_file_is_computed_again(damage, stack, tmp_path, counted) -> None:
    filter_slices(stack[:1], [3], tmp_path, 1)
    (path,) = tmp_path.glob("*.npy")
    sound = path.read_bytes()
    path.write_bytes(damage(sound))
    for _ in range(2):
        assert equal(filter_slices(stack[:1], [3], tmp_path, 1), stack[:1], [3])
    assert counted == [[3], [3]]
    assert path.read_bytes() == sound


def test_a_file_of_another_slice_is_not_taken(stack: list[np.ndarray], tmp_path: Path) -> None:
    filter_slices(stack[:1], [3], tmp_path, 1)
    (path,) = tmp_path.glob("*.npy")
    path.rename(tmp_path / f"{cache_key(stack[1], 3)}.npy")  # its size differs
    assert equal(filter_slices(stack[1:2], [3], tmp_path, 1), stack[1:2], [3])


def test_a_folder_that_cannot_be_written(stack, tmp_path, caplog) -> None:
    (tmp_path / "file").touch()
    results = filter_slices(stack, [3], tmp_path / "file" / "cache", 1)
    assert equal(results, stack, [3])
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        f"the filter cache {tmp_path / 'file' / 'cache'} cannot be written"
    ]


def test_a_full_disk(stack, tmp_path, caplog, monkeypatch) -> None:
    def write_half(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    assert equal(filter_slices(stack, [3], tmp_path, 1), stack, [3])
    assert {path.suffix for path in tmp_path.iterdir()} == {".lock"}
    assert "No space left on device" in caplog.text


def test_nobody_sees_a_half_written_file(stack, tmp_path, monkeypatch) -> None:
    write_bytes, seen = Path.write_bytes, []

    def write_and_look(path: Path, content: bytes) -> int:
        seen.append(path.suffix)
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_and_look)
    filter_slices(stack[:1], [3, 4], tmp_path, 1)
    assert seen == [".tmp", ".tmp"]
    assert {path.suffix for path in tmp_path.iterdir() if path.suffix != ".lock"} == {".npy"}


def run_python(code: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def test_a_pool_gives_what_one_process_gives(stack: list[np.ndarray], tmp_path: Path) -> None:
    filter_slices(stack[1:2], [7], tmp_path, 1)
    seen: list[tuple[int, int]] = []
    results = filter_slices(stack, [7, 3], tmp_path, 2, lambda *step: seen.append(step))
    assert equal(results, stack, [7, 3])
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(list(tmp_path.glob("*.npy"))) == 8


def test_one_missing_slice_needs_no_pool(stack, monkeypatch, tmp_path) -> None:
    filter_slices(stack[1:], [3], tmp_path, 1)
    monkeypatch.setattr(module, "ProcessPoolExecutor", None)
    assert equal(filter_slices(stack, [3], tmp_path, 8), stack, [3])


def test_a_worker_that_dies_is_one_sentence(
    stack: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "end_with_parent", functools.partial(os._exit, 1))
    with pytest.raises(FibsegError, match="one of 2 filter processes died: out of memory"):
        filter_slices(stack, [3], None, 2)


def test_an_error_in_progress_ends_the_pool(stack: list[np.ndarray]) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filter_slices(stack, [3], None, 2, interrupt)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_workers_end_when_their_parent_is_killed() -> None:
    code = """if True:
        import multiprocessing, os, time
        from concurrent.futures import ProcessPoolExecutor
        from fibseg.filtered_slices import end_with_parent
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(60)
    """
    with run_python(code) as parent:
        assert parent.stdout is not None
        status = Path("/proc", parent.stdout.readline().strip(), "status")
        assert status.exists()
        parent.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while status.exists() and "Z (zombie)" not in status.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_who_filters_with_another_area_does_not_wait(
    stack: list[np.ndarray], tmp_path: Path
) -> None:
    with module._my_turn(tmp_path, stack, [3, 7]):
        assert equal(filter_slices(stack, [5], tmp_path, 1), stack, [5])
        for areas in ([7], [3, 5], [7, 9]):
            waiting = threading.Thread(
                target=filter_slices, args=(stack, areas, tmp_path, 1), daemon=True
            )
            waiting.start()
            waiting.join(0.3)
            assert waiting.is_alive(), areas
