"""Many slices: each filtered once, in threads, and kept on disk whole or not at all."""

import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fibseg.filters import slices as module
from fibseg.filters.cache import cache_key, turn_to_fill
from fibseg.filters.grain import grain_filter
from fibseg.filters.slices import filter_slices, slice_channels


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
    cache = tmp_path / "new" / "cache"
    steps: list[tuple[int, int]] = []
    for _ in range(2):
        results = filter_slices(stack, [3, 7], cache, 1, lambda *step: steps.append(step))
        assert equal(results, stack, [3, 7])
    assert counted == [[3, 7]] * 4
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)] * 2
    names = {f"{cache_key(image, area)}.npy" for image in stack for area in (3, 7)}
    assert {path.name for path in cache.iterdir() if path.suffix != ".lock"} == names


def test_only_what_is_missing_is_computed(
    stack: list[np.ndarray], tmp_path: Path, counted: list[list[int]]
) -> None:
    filter_slices(stack[:2], [3], tmp_path, 1)
    steps: list[tuple[int, int]] = []
    results = filter_slices(stack[:3], [9, 3, 9], tmp_path, 1, lambda *step: steps.append(step))
    assert equal(results, stack[:3], [9, 3, 9])
    assert counted == [[3], [3], [9], [9], [9, 3]]
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_two_at_once_compute_each_slice_once(
    stack: list[np.ndarray],
    tmp_path: Path,
    counted: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = module.grain_filter
    monkeypatch.setattr(
        module, "grain_filter", lambda *arguments: (time.sleep(0.05), count(*arguments))[1]
    )
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(filter_slices, stack, [3, 7], tmp_path, 1) for _ in range(2)]
    assert all(equal(future.result(), stack, [3, 7]) for future in both)
    assert counted == [[3, 7]] * 4


def test_a_cache_with_another_area_is_not_waited_for(
    stack: list[np.ndarray], tmp_path: Path
) -> None:
    waiting = []
    with turn_to_fill(tmp_path, stack, [3, 7]):
        assert equal(filter_slices(stack, [5], tmp_path, 1), stack, [5])
        for areas in ([7], [3, 5], [7, 9]):
            arguments = (stack, areas, tmp_path, 1)
            waiting.append(threading.Thread(target=filter_slices, args=arguments, daemon=True))
            waiting[-1].start()
        time.sleep(0.3)
        assert all(thread.is_alive() for thread in waiting)
    for thread in waiting:
        thread.join(20)
        assert not thread.is_alive()


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


def test_channels_are_the_slice_and_its_filtered_versions(stack: list[np.ndarray]) -> None:
    for image, channels in zip(stack, slice_channels(stack, [7, 3], None, 1), strict=True):
        assert np.array_equal(channels, [image, *grain_filter(image, [7, 3])])
    (channels, *_) = slice_channels(stack, [], None, 1)
    assert np.array_equal(channels, stack[0][None])


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
    # The sizes of the two slices differ.
    path.rename(tmp_path / f"{cache_key(stack[1], 3)}.npy")
    assert equal(filter_slices(stack[1:2], [3], tmp_path, 1), stack[1:2], [3])


def test_files_that_were_swapped_are_computed_again(tmp_path: Path) -> None:
    """Of one size and type, and whole: only the key inside tells them apart."""
    images = list(np.random.default_rng(6).integers(0, 256, (2, 24, 30), dtype=np.uint8))
    filter_slices(images, [3, 7], tmp_path, 1)
    names = [cache_key(images[0], 3), cache_key(images[1], 3), cache_key(images[0], 7)]
    first, second, third = (tmp_path / f"{name}.npy" for name in names)
    contents = [path.read_bytes() for path in (first, second, third)]
    first.write_bytes(contents[1])
    second.write_bytes(contents[2])
    third.write_bytes(contents[0])
    assert equal(filter_slices(images, [3, 7], tmp_path, 1), images, [3, 7])
    # What was computed again replaces the wrong files.
    assert [path.read_bytes() for path in (first, second, third)] == contents


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
    assert "the disk is full" in caplog.text


def test_a_half_written_file_has_another_name(stack, tmp_path, monkeypatch) -> None:
    write_bytes = Path.write_bytes
    suffixes = []

    def write_and_look(path: Path, content: bytes) -> int:
        suffixes.append(path.suffix)
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_and_look)
    filter_slices(stack[:1], [3, 4], tmp_path, 1)
    assert suffixes == [".partial", ".partial"]
    assert {path.suffix for path in tmp_path.iterdir() if path.suffix != ".lock"} == {".npy"}


def test_threads_give_what_one_thread_gives(stack: list[np.ndarray], tmp_path: Path) -> None:
    filter_slices(stack[1:2], [7], tmp_path, 1)
    steps: list[tuple[int, int]] = []
    results = filter_slices(stack, [7, 3], tmp_path, 2, lambda *step: steps.append(step))
    assert equal(results, stack, [7, 3])
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(list(tmp_path.glob("*.npy"))) == 8


def test_a_failed_slice_fails_in_the_caller(
    stack: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(module, "grain_filter", fails)
    with pytest.raises(MemoryError):
        filter_slices(stack, [3], None, 2)


def test_an_interrupt_drops_what_has_not_begun(
    stack: list[np.ndarray], counted: list[list[int]]
) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filter_slices(stack * 200, [3], None, 1, interrupt)
    assert len(counted) < 800
