"""One prediction from start to end: what is missing is labelled and kept, and the outputs are made of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from fibseg.data.slices import read_finite
from fibseg.errors import FibsegError
from fibseg.files import require_disk
from fibseg.prediction.estimate import estimate
from fibseg.prediction.stack import Labelled, Labeller, label_stack, slice_digest
from fibseg.prediction.staging import Kept, Staging, zeros
from fibseg.stack import Stack

DOUBTFUL = 0.05
"""Share of a slice's pixels outside the training's grey values above which a person is warned."""

EVERY, EARLY = 30, 4
"""Seconds between lines of progress where no terminal listens, and the slice after which the first one comes."""


def label_stack_into(
    staging: Staging,
    labeller: Labeller,
    stack: Stack,
    told: dict[str, Any],
    shard: tuple[int, int],
    skip_unreadable: bool,
    console: Console,
) -> None:
    """Label the slices of a shard that are not labelled yet, and make the outputs once every slice is there.

    Args:
        staging: where slices are kept, and what is made of them.
        labeller: what labels a slice.
        stack: the image.
        told: `labelling.identity`, which a started output must have too; its image is looked at as well.
        shard: (number, of how many).
        skip_unreadable: a slice that cannot be read becomes 0.
        console: says how far it is.

    Raises:
        FibsegError: a slice cannot be read or written, or the output was begun with another model or image.
    """
    depth, (number, shards) = stack.shape[0], shard
    positions = list(range(number * depth // shards, (number + 1) * depth // shards))
    values = label_table(labeller.models[0].label_values)
    staging.begin(told, lambda z: slice_digest(stack, z))
    missing = staging.missing(positions)
    tell_needs(staging, labeller, stack, missing, values.itemsize, console)
    unreadable: list[Labelled] = []
    with staging.shard(number, shards):
        if len(missing) < len(positions):
            console.print(
                f"{len(positions) - len(missing)} of {len(positions)} slices are labelled already"
            )
        for one in shown(
            label_and_keep(labeller, stack, missing, staging, values), len(missing), console
        ):
            if one.error is None:
                continue
            unreadable.append(one)
            staging.file(one.z).unlink(missing_ok=True)  # zeros of an earlier attempt
            if skip_unreadable:
                staging.write(one.z, zeros(stack.shape, staging.outputs), Kept(0.0, "", True))
    kept = staging.assemble()
    if kept:
        tell(labeller, [one.outside for one in kept.values()], staging, console)
    if unreadable:
        rest = (
            "they are 0 in the output"
            if skip_unreadable
            else f"the rest is kept in {staging.folder}"
        )
        if kept is None and shards == 1 and not staging.kept():
            staging.remove()
            rest = "nothing is written"
        which = ", ".join(str(one.z) for one in unreadable)
        raise FibsegError(f"{unreadable[0].error} Slices {which} could not be read; {rest}.")
    if kept is None:
        console.print(
            f"{len(positions)} slices are labelled; {len(staging.missing(range(depth)))} of {depth} are missing"
        )


def tell_needs(
    staging: Staging,
    labeller: Labeller,
    stack: Stack,
    missing: Sequence[int],
    itemsize: int,
    console: Console,
) -> None:
    """Disk, time and memory, before anything is computed; FibsegError where the disk is too small."""
    depth, height, width = stack.shape
    pixel = 0.1 * itemsize + len(labeller.layers)  # labels shrink to a tenth and less
    needed = (
        pixel * height * width * (len(missing) + 1.4 * depth)
    )  # slices, then outputs with a pyramid
    require_disk(staging.folder, needed, "the labels")
    console.print(f"about {needed / 1e9:.2g} GB will be written at most")
    if missing:
        with suppress(
            FibsegError, RuntimeError
        ):  # an estimate ends no prediction; what is wrong is told later
            console.print(estimate(labeller, read_finite(stack, missing[0]), len(missing)))


def label_and_keep(
    labeller: Labeller,
    stack: Stack,
    positions: Sequence[int],
    staging: Staging,
    values: NDArray[Any],
) -> Iterator[Labelled]:
    """Each slice once it is labelled; it is written by a thread while the next one is computed."""
    with ThreadPoolExecutor(1) as writer, memory_named(labeller):
        waiting = deque[tuple[Labelled, Future[None] | None]]()
        for one in label_stack(labeller, stack, positions):
            layers = [] if one.labels is None else [values[one.labels], *one.layers]
            kept = Kept(one.outside, one.digest, False)
            future = None if one.error else writer.submit(staging.write, one.z, layers, kept)
            waiting.append((one, future))
            if len(waiting) > 2:
                yield _written(*waiting.popleft())
        while waiting:
            yield _written(*waiting.popleft())


@contextmanager
def memory_named(labeller: Labeller) -> Iterator[None]:
    """A GPU's memory that is too small as a sentence."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise FibsegError(
            f"{labeller.device}: too little memory for windows={labeller.windows}; "
            "take windows=tiles tile=512. Finished slices are kept."
        ) from error


def _written(one: Labelled, future: Future[None] | None) -> Labelled:
    if future is not None:
        future.result()
    return one


def shown(slices: Iterator[Labelled], count: int, console: Console) -> Iterator[Labelled]:
    """With a bar on a terminal, and elsewhere a line now and then: slices per second and time left."""
    start = last = time.monotonic()
    columns: list[ProgressColumn] = [
        TextColumn("labelling"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("labelling", total=count, speed="")
        for done, one in enumerate(slices, 1):
            now = time.monotonic()
            speed = done / max(now - start, 1e-9)
            progress.update(task, completed=done, speed=f"{speed:.2f} slices/s")
            if not console.is_terminal and (done == EARLY or now - last > EVERY):
                last = now
                left = (count - done) / speed
                console.print(f"slice {done} of {count}, {speed:.2f} slices/s, {left:.0f} s left")
            yield one


def tell(labeller: Labeller, outside: list[float], staging: Staging, console: Console) -> None:
    """What was written, and slices whose grey values the training did not know."""
    window = labeller.models[0].window
    doubtful = sum(share > DOUBTFUL for share in outside)
    if doubtful:
        console.print(
            f"warning: {doubtful} of {len(outside)} slices have over {DOUBTFUL:.0%} of their pixels outside the grey "
            f"values of the training ({window.low:g} to {window.high:g}); look at these labels with care."
        )
    console.print(f"{staging.outputs[0].path}: labels of {len(outside)} slices")
    for output in staging.outputs[1:]:
        console.print(f"{output.path}: {output.notes['holds']}, times 255")


def label_table(values: Sequence[int]) -> NDArray[Any]:
    """In the smallest type that holds them."""
    found = np.array(values)
    return found.astype(np.min_scalar_type(int(found.max())) if found.min() >= 0 else np.int32)
