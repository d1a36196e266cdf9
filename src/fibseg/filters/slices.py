"""The grain filter over many slices, in threads, with what the cache has of them."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path

import numpy as np

from fibseg.arrays import Pixels
from fibseg.filters.cache import fill_from_cache, turn_to_fill, write_to_cache
from fibseg.filters.grain import check_areas, check_image, grain_filter

Progress = Callable[[int, int], None] | None
"""Called with the number of slices done and the number of slices in total."""

_Job = tuple[int, Pixels, list[int]]
"""Position of a slice, its (H, W) pixels, and the areas to filter it with."""


def filter_slices(
    images: Sequence[Pixels],
    areas: Sequence[int],
    cache: Path | None,
    threads: int,
    progress: Progress = None,
) -> list[Pixels]:
    """Filter many slices, over threads, and keep the results on disk.

    Args:
        images: Slices, each (H, W) as in `grain_filter`; their sizes may differ.
        areas: Limits in pixels, as in `grain_filter`.
        cache: Folder of the cache, made when missing; None keeps nothing. What it lacks, or holds
            damaged, is computed; where it cannot be written a warning is logged, and the results
            are used all the same.
        threads: Slices that are filtered at a time. Only slices of uint8 gain, since Higra, which
            filters the others, holds Python's interpreter lock.
        progress: Called as ``progress(done, total)``, in slices, each time a slice is finished.

    Returns:
        One (len(areas), H, W) array per slice, in the order of ``images``.

    Raises:
        FibsegError: As in `grain_filter`, before anything is computed.
    """
    limits = check_areas(areas)
    for image in images:
        check_image(image)
    # A function that does nothing spares every call a question.
    report = progress or (lambda _done, _total: None)
    results = [np.empty((len(limits), *image.shape), image.dtype) for image in images]
    jobs = _missing(results, images, limits, cache)
    missing_areas = {area for _, _, lacking in jobs for area in lacking}
    # The lock covers all slices, so that a waiting process finds the cache full and computes
    # nothing.
    with turn_to_fill(cache, images, sorted(missing_areas)):
        # Another process may have filled the cache while this one waited for its turn.
        jobs = _missing(results, images, limits, cache) if jobs else []
        cached = len(images) - len(jobs)
        for done in range(cached):
            report(done + 1, len(images))
        # Closed even after an exception: the generator then drops what has not begun.
        with closing(_computed(jobs, threads)) as finished:
            for done, (position, filtered) in enumerate(finished, cached + 1):
                for channel, limit in enumerate(limits):
                    if limit in filtered:
                        results[position][channel] = filtered[limit]
                # After a failed write no other is tried: the warning is to come once.
                if cache is not None and not write_to_cache(images[position], filtered, cache):
                    cache = None
                report(done, len(images))
    return results


def slice_channels(
    images: Sequence[Pixels],
    areas: Sequence[int],
    cache: Path | None,
    threads: int,
    progress: Progress = None,
) -> list[Pixels]:
    """Give each slice its channels: itself, one filtered version per area, and its neighbours.

    Args:
        images: Slices, each (H, W); or (1 + n, H, W), a slice and n others around it.
        areas: Limits in pixels; none gives the slice alone.
        cache: As in `filter_slices`.
        threads: As in `filter_slices`.
        progress: As in `filter_slices`.

    Returns:
        One (1 + len(areas) + n, H, W) array per slice, in the order of ``images``.
    """
    pictures = [image[None] if image.ndim == 2 else image for image in images]
    if not areas:
        return pictures
    # Neighbours are not filtered: their trees would cost as much as that of the slice.
    middles = [picture[0] for picture in pictures]
    filtered = filter_slices(
        images=middles, areas=areas, cache=cache, threads=threads, progress=progress
    )
    return [
        np.concatenate([picture[:1], versions, picture[1:]])
        for picture, versions in zip(pictures, filtered, strict=True)
    ]


def _missing(
    results: list[Pixels], images: Sequence[Pixels], limits: list[int], cache: Path | None
) -> list[_Job]:
    """Fill the results with what the cache has; return jobs for what it lacks."""
    lacking = (
        (i, image, fill_from_cache(results[i], image, limits, cache))
        for i, image in enumerate(images)
    )
    # Slices that lack no area are finished.
    return [job for job in lacking if job[2]]


def _computed(
    jobs: list[_Job], threads: int
) -> Generator[tuple[int, dict[int, Pixels]], None, None]:
    """Run the jobs; yield the position of a slice and area -> (H, W) pixels as each finishes."""
    if not jobs:
        return
    pool = ThreadPoolExecutor(min(threads, len(jobs)))
    try:
        futures = {
            pool.submit(grain_filter, image, areas): (position, areas)
            for position, image, areas in jobs
        }
        for future in as_completed(futures):
            # Popped, so that the pixels are freed as soon as they are used.
            position, areas = futures.pop(future)
            yield position, dict(zip(areas, future.result(), strict=True))
    finally:
        pool.shutdown(cancel_futures=True)
