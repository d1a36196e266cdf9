"""The grain filter: remove the small shapes of a slice, keep every other contour where it is.

The *tree of shapes* (Monasse and Guichard 2000, doi 10.1109/83.841532) holds the connected components of all level sets
of an image, bright and dark alike, with their holes filled. The *grain filter* (Caselles and Monasse 2002, doi
10.1023/A:1020715626538) removes every shape whose area is below a limit; its pixels take the grey level of the smallest
kept shape around them. Two libraries build the tree, and the pixels that come out are equal: pylena for 8-bit images,
in linear time (Carlinet, Crozet and Géraud 2018, doi 10.1109/ICIP.2018.8451180); Higra for the rest, and where pylena
is not installed (Perret et al. 2019, doi 10.1016/j.softx.2019.100335).

Outside the slice lies one grey level, the mean of the border pixels, rounded for integers: it is the root of the tree,
never removed. Higra's ``padding='mean'`` does so too, but sums in the pixel type, and uint8 overflows: here the border
is always padded by hand. What follows, each line a test:

- Self-dual: the opposite image gives the opposite result, because halves are rounded away from mid-grey. A mean of
  mid-grey itself, 127.5 of uint8, becomes 127: only then pixels of the outside's level may differ, by one grey level.
- No new grey levels, but for that of the outside.
- Filtering twice is filtering once, and a larger area after a smaller one is the larger one, as long as the outside
  keeps its level: a shape that is removed at the border can change the border mean.
- A grain is 4-connected, what is around it 8-connected: two pixels that touch at a corner only are two grains.
"""

import hashlib
import importlib
import io
import logging
import math
import multiprocessing.connection
import operator
import os
import secrets
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fibseg.errors import FibsegError

Array = npt.NDArray[Any]
Backend = Literal["auto", "pylena", "higra"]
Progress = Callable[[int, int], None] | None  # (slices done, slices in total)
Job = tuple[int, Array, list[int]]  # position of the slice, (H, W) pixels, areas to compute

_CACHE_FORMAT = 1  # part of every key: raise it when the filter's result or the file format changes
_logger = logging.getLogger(__name__)

# Pixel type of an image -> pixel type handed to Higra, which casts int8, int16, uint32 and float16 to uint8, silently.
_TREE_DTYPES = {"uint8": "uint8", "uint16": "uint16", "int16": "int32", "float32": "float32", "float64": "float64"}


def grain_filter(image: Array, areas: Sequence[int], *, backend: Backend = "auto") -> Array:
    """Remove the shapes below each area from one slice; one tree serves all areas.

    Args:
        image: (H, W), at least one pixel; uint8, uint16, int16, float32 or float64, without NaN or infinity.
        areas: Limits in pixels, at least 1, in any order. Shapes of fewer pixels are removed; 1 changes nothing.
        backend: The library that builds the tree. ``auto`` takes pylena for uint8 where it is installed, else Higra.

    Returns:
        (len(areas), H, W) of the image's dtype, in the order of ``areas``.

    Raises:
        FibsegError: The image is not as above, an area is no integer or below 1, or the backend cannot be used.

    Example:
        >>> image = np.full((7, 7), 100, np.uint8)
        >>> image[2:5, 2:5] = 20
        >>> image[3, 3] = 250  # a dark square of 9 pixels with a bright hole of one
        >>> kept, no_hole, flat = grain_filter(image, [1, 9, 10])
        >>> kept[3].tolist(), no_hole[3].tolist(), flat[3].tolist()
        ([100, 100, 20, 250, 20, 100, 100], [100, 100, 20, 20, 20, 100, 100], [100, 100, 100, 100, 100, 100, 100])
    """
    limits = _checked_areas(areas)
    _check_image(image)
    if not limits:
        return np.empty((0, *image.shape), image.dtype)
    padded = np.full(np.add(image.shape, 2), border_level(image), _TREE_DTYPES[image.dtype.name])
    padded[1:-1, 1:-1] = image
    limits = [min(limit, image.size + 1) for limit in limits]  # above image.size all limits do the same
    pylena = _pylena_for(image.dtype, backend)
    filtered = _filter_by_higra(padded, limits) if pylena is None else _filter_by_pylena(pylena, padded, limits)
    return filtered[:, 1:-1, 1:-1].astype(image.dtype)


def border_level(image: Array) -> Any:
    """Mean of the border pixels, each counted once: the grey level outside of the slice, for `grain_filter`.

    (H, W) of an integer or float type -> a scalar of that type. The sum is exact, so turning the slice changes nothing.
    For integers the mean is rounded; half-way between two, away from the middle of the type's range.

    Example:
        >>> border_level(np.array([[200, 201]], np.uint8)), border_level(np.array([[55, 54]], np.uint8))
        (np.uint8(201), np.uint8(54))
    """
    is_border = np.ones(image.shape, dtype=bool)
    is_border[1:-1, 1:-1] = False
    border = image[is_border]
    if image.dtype.kind == "f":
        return image.dtype.type(math.fsum(border.tolist()) / border.size)
    level, rest = divmod(int(border.sum(dtype=np.int64)), border.size)
    middle = (np.iinfo(image.dtype).min + np.iinfo(image.dtype).max) / 2
    round_up = 2 * rest > border.size or (2 * rest == border.size and level + 0.5 > middle)
    return image.dtype.type(level + round_up)


def filter_slices(
    images: Sequence[Array], areas: Sequence[int], cache_dir: Path | None, processes: int, progress: Progress = None
) -> list[Array]:
    """Filter many slices, over processes, and keep the results on disk.

    Args:
        images: Slices, each (H, W) as in `grain_filter`; their sizes may differ.
        areas: Limits in pixels, as in `grain_filter`.
        cache_dir: Folder of the cache, made when missing; None keeps nothing. What it lacks, or holds damaged, is
            computed; where it cannot be written a warning is logged, and the results are used all the same.
        processes: Worker processes; none is started for 1, or for one slice to compute. For more the calling script
            needs ``if __name__ == "__main__":``, because the workers import it.
        progress: Called as ``progress(done, total)``, in slices, each time a slice is finished.

    Returns:
        One (len(areas), H, W) array per slice, in the order of ``images``.

    Raises:
        FibsegError: As in `grain_filter`, before anything is computed; or a worker process died.
    """
    limits = _checked_areas(areas)
    report = progress or (lambda _done, _total: None)
    results = [np.empty((len(limits), *image.shape), image.dtype) for image in images]
    jobs: list[Job] = []
    for index, image in enumerate(images):
        _check_image(image)
        missing = _fill_from_cache(results[index], image, limits, cache_dir)
        if missing:
            jobs.append((index, image, missing))
        else:
            report(index + 1 - len(jobs), len(images))
    with closing(_computed(jobs, processes)) as finished:
        for done, (index, found) in enumerate(finished, len(images) - len(jobs) + 1):
            for position, limit in enumerate(limits):
                results[index][position] = found.get(limit, results[index][position])
            if cache_dir is not None:
                cache_dir = _write_all(images[index], found, cache_dir)
            report(done, len(images))
    return results


def cache_key(image: Array, area: int) -> str:
    """Name of the cached result of one slice and one area, without ``.npy``.

    A SHA-256, 64 hexadecimal digits, of the (H, W) pixels, their type and shape, the area in pixels, the scope and the
    version of the format. The backend does not count, because both give equal pixels.
    """
    head = f"fibseg grain filter {_CACHE_FORMAT}|scope slice|area {area}|{image.dtype.str}|{image.shape}|"
    return hashlib.sha256(head.encode() + image.tobytes()).hexdigest()


def _checked_areas(areas: Sequence[int]) -> list[int]:
    """The areas as Python integers, all at least 1."""
    limits = []
    for area in areas:
        try:
            limits.append(operator.index(area))
        except TypeError:
            raise FibsegError(f"area {area!r} is no integer: give a whole number of pixels, such as 650") from None
        if limits[-1] < 1:
            raise FibsegError(f"area {area} is below 1: give at least 1 pixel, which removes nothing")
    return limits


def _check_image(image: Array) -> None:
    if image.ndim != 2 or image.size == 0:
        raise FibsegError(f"image of shape {image.shape}: expected (H, W) and at least one pixel; pass one grey slice")
    if image.dtype.name not in _TREE_DTYPES:
        raise FibsegError(f"image of {image.dtype}: expected one of {', '.join(_TREE_DTYPES)}; convert it first")
    if image.dtype.kind == "f":
        limit = np.finfo(image.dtype).max / 1e8  # the sum of the border must stay finite
        wrong = image[~(np.abs(image) <= limit)]
        if wrong.size:
            raise FibsegError(f"image holds {wrong[0]}: expected finite grey levels, up to {limit:.0e}; replace them")


def _pylena_for(dtype: np.dtype[Any], backend: Backend) -> ModuleType | None:
    """The module pylena where it is to be used, None for Higra."""
    if backend not in ("auto", "pylena", "higra") or (backend == "pylena" and dtype != np.uint8):
        raise FibsegError(f"backend {backend!r} for {dtype} pixels: use 'auto' or 'higra', or 'pylena' with uint8")
    if backend == "higra" or dtype != np.uint8:
        return None
    try:
        return importlib.import_module("pylena")
    except ImportError as error:
        if backend == "pylena":
            raise FibsegError(f"backend 'pylena' cannot be imported ({error}): install it or use 'auto'") from None
        return None


def _filter_by_pylena(pylena: ModuleType, padded: Array, areas: list[int]) -> Array:
    """(H + 2, W + 2) uint8 -> (len(areas), H + 2, W + 2) uint8."""
    tree = pylena.morpho.tos(padded)
    tree_areas = tree.compute_area()  # the padding counts in the root only, which is never removed
    return np.stack([tree.reconstruct(tree.filter(tree_areas >= area, inplace=False)) for area in areas])


def _filter_by_higra(padded: Array, areas: list[int]) -> Array:
    """(H + 2, W + 2) of a type of `_TREE_DTYPES` -> (len(areas), H + 2, W + 2) of the same."""
    higra = importlib.import_module("higra")
    tree, altitudes = higra.component_tree_tree_of_shapes_image2d(padded, padding="none")
    tree_areas = higra.attribute_area(tree)
    return np.stack([higra.reconstruct_leaf_data(tree, altitudes, tree_areas < area) for area in areas])


def _computed(jobs: list[Job], processes: int) -> Generator[tuple[int, dict[int, Array]], None, None]:
    """Run the jobs and yield (position of the slice, area -> (H, W) pixels) as they finish, in any order.

    Processes and not threads, because both libraries hold Python's interpreter lock.
    """
    workers = min(processes, len(jobs))
    if workers <= 1:
        yield from ((index, dict(zip(areas, grain_filter(image, areas), strict=True))) for index, image, areas in jobs)
        return
    context = multiprocessing.get_context("spawn")  # after a fork, a lock held by a thread of torch stays locked
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)
    try:
        futures = {pool.submit(grain_filter, image, areas): (index, areas) for index, image, areas in jobs}
        for future in as_completed(futures):
            index, areas = futures.pop(future)
            yield index, dict(zip(areas, future.result(), strict=True))
    except BrokenProcessPool:
        cause = "out of memory (take fewer), or the script lacks `if __name__ == '__main__':` (add it)"
        raise FibsegError(f"one of {workers} filter processes died: {cause}") from None
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """In a worker: end when the parent was killed, not on Ctrl-C, which is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait = multiprocessing.connection.wait
        threading.Thread(target=lambda: wait([parent.sentinel]) and os._exit(1), daemon=True).start()


def _fill_from_cache(result: Array, image: Array, areas: list[int], cache_dir: Path | None) -> list[int]:
    """Fill (len(areas), H, W) in place with what the cache has; return the areas it lacks, each once."""
    missing = []
    for position, area in enumerate(areas):
        pixels = None if cache_dir is None else _read(cache_dir / f"{cache_key(image, area)}.npy", image)
        if pixels is None:
            missing.append(area)
        else:
            result[position] = pixels
    return list(dict.fromkeys(missing))


def _write_all(image: Array, found: dict[int, Array], cache_dir: Path) -> Path | None:
    """Write the pixels of each area; return the folder for the next slice, None once writing has failed."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        for area, pixels in found.items():
            _write(cache_dir / f"{cache_key(image, area)}.npy", pixels)
    except OSError as error:
        _logger.warning("the filter cache %s cannot be written (%s): results are used, not kept", cache_dir, error)
        return None
    return cache_dir


def _read(path: Path, image: Array) -> Array | None:
    """The cached (H, W) pixels, None where the file is missing, damaged, or of another size or type."""
    try:
        content = path.read_bytes()
        body, digest = content[:-32], content[-32:]
        if hashlib.sha256(body).digest() != digest:
            return None
        pixels: Array = np.load(io.BytesIO(body), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return pixels if pixels.shape == image.shape and pixels.dtype == image.dtype else None


def _write(path: Path, pixels: Array) -> None:
    """Write (H, W) pixels as .npy plus the SHA-256 of that, whole or not at all; `np.load` reads it too."""
    buffer = io.BytesIO()
    np.save(buffer, pixels, allow_pickle=False)
    buffer.write(hashlib.sha256(buffer.getvalue()).digest())
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
