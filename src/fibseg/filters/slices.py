"""The grain filter over many slices: in worker processes, and kept on disk, so that it is done once for all runs."""

import hashlib
import io
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock

from fibseg.errors import FibsegError
from fibseg.files import replacing
from fibseg.filters.grain import Array, check_areas, check_image, grain_filter
from fibseg.machine import start_workers, stop_workers

Progress = Callable[[int, int], None] | None  # (slices done, slices in total)
Job = tuple[int, Array, list[int]]  # position of the slice, (H, W) pixels, areas to compute

_CACHE_FORMAT = 1  # part of every key: raise it when the filter's result or the file format changes
_logger = logging.getLogger(__name__)


def filter_slices(
    images: Sequence[Array],
    areas: Sequence[int],
    cache_dir: Path | None,
    processes: int,
    progress: Progress = None,
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
    limits = check_areas(areas)
    report = progress or (lambda _done, _total: None)
    results = [np.empty((len(limits), *image.shape), image.dtype) for image in images]
    for image in images:
        check_image(image)
    jobs = _missing(results, images, limits, cache_dir)
    with _my_turn(cache_dir, images, sorted({area for _, _, lacking in jobs for area in lacking})):
        jobs = (
            _missing(results, images, limits, cache_dir) if jobs else []
        )  # another process may have filled it
        for done in range(len(images) - len(jobs)):
            report(done + 1, len(images))
        with closing(_computed(jobs, processes)) as finished:
            for done, (index, found) in enumerate(finished, len(images) - len(jobs) + 1):
                for position, limit in enumerate(limits):
                    results[index][position] = found.get(limit, results[index][position])
                if cache_dir is not None:
                    cache_dir = _write_all(images[index], found, cache_dir)
                report(done, len(images))
    return results


def slice_channels(
    images: Sequence[Array],
    areas: Sequence[int],
    cache: Path | None,
    processes: int,
    progress: Progress = None,
) -> list[Array]:
    """Slices (H, W) -> their channels (1 + len(areas), H, W): the slice, then one filtered version per area."""
    if not areas:
        return [image[None] for image in images]
    filtered = filter_slices(images, areas, cache, processes, progress)
    return [
        np.concatenate([image[None], more]) for image, more in zip(images, filtered, strict=True)
    ]


def _missing(
    results: list[Array], images: Sequence[Array], limits: list[int], cache_dir: Path | None
) -> list[Job]:
    """Fill the results with what the cache has; what it lacks."""
    lacking = (
        (i, image, _fill_from_cache(results[i], image, limits, cache_dir))
        for i, image in enumerate(images)
    )
    return [job for job in lacking if job[2]]


@contextmanager
def _my_turn(cache_dir: Path | None, images: Sequence[Array], areas: list[int]) -> Iterator[None]:
    """Processes that would filter the same slices with the same area take turns: the first fills the cache for all.

    A lock for each area, taken in order of size, so that nobody waits in a circle.
    """
    with ExitStack() as held:
        for area in areas:
            if cache_dir is None:
                break
            digest = hashlib.sha256(
                "".join(cache_key(image, area) for image in images).encode()
            ).hexdigest()
            try:
                cache_dir.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(cache_dir / f".{digest}.lock"))
            except OSError:
                break  # a cache that cannot be written; _write_all says so
        yield


def cache_key(image: Array, area: int) -> str:
    """Name of the cached result of one slice and one area, without ``.npy``.

    A SHA-256, 64 hexadecimal digits, of the (H, W) pixels, their type and shape, the area in pixels, the scope and the
    version of the format. The backend does not count, because both give equal pixels.
    """
    head = f"fibseg grain filter {_CACHE_FORMAT}|scope slice|area {area}|{image.dtype.str}|{image.shape}|"
    return hashlib.sha256(head.encode() + image.tobytes()).hexdigest()


def _computed(
    jobs: list[Job], processes: int
) -> Generator[tuple[int, dict[int, Array]], None, None]:
    """Run the jobs and yield (position of the slice, area -> (H, W) pixels) as they finish, in any order.

    Processes and not threads, because both libraries hold Python's interpreter lock.
    """
    workers = min(processes, len(jobs))
    if workers <= 1:
        yield from (
            (index, dict(zip(areas, grain_filter(image, areas), strict=True)))
            for index, image, areas in jobs
        )
        return
    pool = start_workers(workers)
    try:
        futures = {
            pool.submit(grain_filter, image, areas): (index, areas) for index, image, areas in jobs
        }
        for future in as_completed(futures):
            index, areas = futures.pop(future)
            yield index, dict(zip(areas, future.result(), strict=True))
    except BrokenProcessPool:
        cause = (
            "out of memory (take fewer), or the script lacks `if __name__ == '__main__':` (add it)"
        )
        raise FibsegError(f"one of {workers} filter processes died: {cause}") from None
    finally:
        stop_workers(pool)


def _fill_from_cache(
    result: Array, image: Array, areas: list[int], cache_dir: Path | None
) -> list[int]:
    """Fill (len(areas), H, W) in place with what the cache has; return the areas it lacks, each once."""
    missing = []
    for position, area in enumerate(areas):
        pixels = (
            None if cache_dir is None else _read(cache_dir / f"{cache_key(image, area)}.npy", image)
        )
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
        _logger.warning(
            "the filter cache %s cannot be written (%s): results are used, not kept",
            cache_dir,
            error,
        )
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
    with replacing(path, shared=True) as partial:
        partial.write_bytes(buffer.getvalue())
