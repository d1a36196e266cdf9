"""One prediction from start to end: missing slices are labelled and kept, then assembled."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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

from fibseg.data.grey import DRIFTED_SHARE
from fibseg.errors import FibsegError
from fibseg.files import require_disk
from fibseg.prediction.estimate import estimate
from fibseg.prediction.stack import LabelledSlice, Labeller, label_stack, slice_digest
from fibseg.prediction.staging import KeptSlice, Staging, zero_pixels
from fibseg.stack import Stack, read_finite

SECONDS_BETWEEN_LINES = 30
FIRST_LINE_AFTER = 4
"""Progress without a terminal: a line after some slices, then one every so many seconds."""


@dataclass(frozen=True)
class Shard:
    """A part of the slices of a stack.

    Attributes:
        number: which part, from 0.
        count: how many parts there are.
    """

    number: int
    count: int

    def positions(self, depth: int) -> list[int]:
        """List the slices of this part of a stack; all parts together hold each slice once."""
        # Whole numbers: parts of nearly one size that meet without a gap.
        first = self.number * depth // self.count
        return list(range(first, (self.number + 1) * depth // self.count))


def label_stack_into(
    staging: Staging,
    labeller: Labeller,
    stack: Stack,
    identity: dict[str, Any],
    shard: Shard,
    skip_unreadable: bool,
    console: Console,
) -> None:
    """Label the slices of a shard that are missing, and make the outputs once every slice is there.

    Args:
        staging: where slices are kept, and what is made of them.
        labeller: what labels a slice.
        stack: the image.
        identity: `labeller_identity`, which a started output must share; its image is compared too.
        shard: which slices this process labels.
        skip_unreadable: whether a slice that cannot be read becomes 0.
        console: takes the progress.

    Raises:
        FibsegError: a slice cannot be read or written, or the output was started with another model
            or image.
    """
    positions = shard.positions(stack.shape[0])
    values = label_table(labeller.models[0].label_values)
    staging.begin(identity, lambda z: slice_digest(stack, z))
    missing = staging.missing(positions)
    report_needs(staging=staging, labeller=labeller, stack=stack, missing=missing, console=console)
    unreadable: list[LabelledSlice] = []
    with staging.shard(shard.number, shard.count):
        done = len(positions) - len(missing)
        if done:
            console.print(f"{done} of {len(positions)} slices are labelled already")
        labelled = label_and_keep(
            labeller=labeller, stack=stack, positions=missing, staging=staging, values=values
        )
        for labelled_slice in with_progress(labelled, len(missing), console):
            if labelled_slice.error is None:
                continue
            unreadable.append(labelled_slice)
            # Zeros of an earlier attempt may stand there.
            staging.file(labelled_slice.z).unlink(missing_ok=True)
            if skip_unreadable:
                # Marked as zeroed, so that the slice is tried again at the next start.
                zeros = zero_pixels(stack.shape, staging.outputs)
                staging.write(labelled_slice.z, zeros, KeptSlice(0.0, "", zeroed=True))
    kept = staging.assemble()
    # Empty where another process made the outputs; that one reports them.
    if kept:
        report_outputs(
            labeller, [kept_slice.outside for kept_slice in kept.values()], staging, console
        )
    if unreadable:
        rest = f"the rest is kept in {staging.folder}"
        if skip_unreadable:
            rest = "they are 0 in the output"
        # Without a labelled slice there is nothing to resume from.
        if kept is None and shard.count == 1 and not staging.kept():
            staging.remove()
            rest = "nothing is written"
        which = ", ".join(str(labelled_slice.z) for labelled_slice in unreadable)
        raise FibsegError(f"{unreadable[0].error} Slices {which} could not be read; {rest}.")
    if kept is None:
        depth = stack.shape[0]
        left = len(staging.missing(range(depth)))
        console.print(f"{len(positions)} slices are labelled; {left} of {depth} are missing")


def report_needs(
    staging: Staging,
    labeller: Labeller,
    stack: Stack,
    missing: Sequence[int],
    console: Console,
) -> None:
    """Print what the prediction needs of disk, time and memory, before anything is computed.

    Args:
        staging: where slices are kept.
        labeller: what labels a slice.
        stack: the image.
        missing: slices to label.
        console: takes the lines.

    Raises:
        FibsegError: the disk is too small.
    """
    depth, height, width = stack.shape
    itemsize = label_table(labeller.models[0].label_values).itemsize
    # Labels shrink to a tenth and less; layers hardly.
    bytes_per_pixel = 0.1 * itemsize + len(labeller.layers)
    # Slices are kept once, then the outputs are written with a pyramid.
    needed = bytes_per_pixel * height * width * (len(missing) + 1.4 * depth)
    require_disk(staging.folder, needed, "the labels")
    console.print(f"about {needed / 1e9:.2g} GB will be written at most")
    if missing:
        # A failed estimate ends no prediction: what is wrong is reported by the prediction itself.
        with suppress(FibsegError, RuntimeError):
            image = read_finite(stack, missing[0])
            console.print(estimate(labeller, image, len(missing)))


def label_and_keep(
    labeller: Labeller,
    stack: Stack,
    positions: Sequence[int],
    staging: Staging,
    values: NDArray[Any],
) -> Iterator[LabelledSlice]:
    """Give each slice once it is labelled; a thread writes it while the next one is computed.

    Args:
        labeller: what labels a slice.
        stack: the image.
        positions: slices to label.
        staging: where they are kept.
        values: label value of each class index.
    """
    # One thread beside the network: compressing must not make it wait.
    with ThreadPoolExecutor(1) as writer, memory_errors_as_sentences(labeller):
        waiting = deque[tuple[LabelledSlice, Future[None] | None]]()
        for labelled in label_stack(labeller, stack, positions):
            future = None
            if labelled.labels is not None:
                pixels = [values[labelled.labels], *labelled.layers]
                kept = KeptSlice(labelled.outside, labelled.digest, zeroed=False)
                future = writer.submit(staging.write, labelled.z, pixels, kept)
            waiting.append((labelled, future))
            # Where the disk is slower than the network, finished slices must not fill the memory.
            if len(waiting) > 2:
                yield _written(*waiting.popleft())
        while waiting:
            yield _written(*waiting.popleft())


@contextmanager
def memory_errors_as_sentences(labeller: Labeller) -> Iterator[None]:
    """Turn a GPU that runs out of memory into one sentence."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise FibsegError(
            f"{labeller.compute.device}: too little memory for windows={labeller.windows}; "
            "take windows=tiles tile=512. Finished slices are kept."
        ) from error


def _written(labelled: LabelledSlice, future: Future[None] | None) -> LabelledSlice:
    """Give the slice once it is on the disk."""
    if future is not None:
        future.result()
    return labelled


def with_progress(
    slices: Iterator[LabelledSlice], count: int, console: Console
) -> Iterator[LabelledSlice]:
    """Pass the slices on, with a bar on a terminal, and elsewhere a line now and then."""
    start = time.monotonic()
    last_line = start
    columns: list[ProgressColumn] = [
        TextColumn("labelling"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("labelling", total=count, speed="")
        for done, labelled in enumerate(slices, 1):
            now = time.monotonic()
            speed = done / max(now - start, 1e-9)
            progress.update(task, completed=done, speed=f"{speed:.2f} slices/s")
            # The first line comes early: the first slices show whether the time will do.
            due = done == FIRST_LINE_AFTER or now - last_line > SECONDS_BETWEEN_LINES
            if due and not console.is_terminal:
                last_line = now
                left = (count - done) / speed
                console.print(f"slice {done} of {count}, {speed:.2f} slices/s, {left:.0f} s left")
            yield labelled


def report_outputs(
    labeller: Labeller, outside: Sequence[float], staging: Staging, console: Console
) -> None:
    """Print what was written, and how many slices have grey values that the training did not have.

    Args:
        labeller: what labelled the slices.
        outside: share of each slice's pixels outside the training's grey range.
        staging: whose outputs were made.
        console: takes the lines.
    """
    grey = labeller.models[0].grey_range
    doubtful = sum(share > DRIFTED_SHARE for share in outside)
    if doubtful:
        console.print(
            f"warning: {doubtful} of {len(outside)} slices have over {DRIFTED_SHARE:.0%} of their "
            f"pixels outside the grey values of the training ({grey.low:g} to {grey.high:g}); "
            "look at these labels with care."
        )
    console.print(f"{staging.outputs[0].path}: labels of {len(outside)} slices")
    for output in staging.outputs[1:]:
        console.print(f"{output.path}: {output.notes['holds']}, times 255")


def label_table(values: Sequence[int]) -> NDArray[Any]:
    """Label value of each class index, in the smallest type that holds them all."""
    table = np.array(values)
    if table.min() < 0:
        return table.astype(np.int32)
    return table.astype(np.min_scalar_type(int(table.max())))
