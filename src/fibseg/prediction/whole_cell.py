"""One prediction from start to end: missing slices are labelled and kept, then assembled."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

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
from fibseg.prediction.estimate import report_needs
from fibseg.prediction.intensity import spread
from fibseg.prediction.labeller import Labeller
from fibseg.prediction.memory import has_exact_tiles
from fibseg.prediction.output.changes import brief_list, compare_slices, report_changes
from fibseg.prediction.output.shards import Shard
from fibseg.prediction.output.staging import KeptSlice, Staging, zero_pixels
from fibseg.prediction.shift import WATCHED_SLICES, ShiftWatch
from fibseg.prediction.slices import label_table
from fibseg.prediction.stack import LabelledSlice, label_stack
from fibseg.stack import Stack

SECONDS_BETWEEN_LINES = 30
FIRST_LINE_AFTER = 4
"""Progress without a terminal: a line after some slices, then one every so many seconds."""


def label_stack_into(
    staging: Staging,
    labeller: Labeller,
    stack: Stack,
    identity: dict[str, Any],
    shard: Shard,
    skip_unreadable: bool,
    console: Console,
    restored: Mapping[int, KeptSlice] | None = None,
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
        restored: slices that outputs hold which an earlier prediction made.

    Raises:
        FibsegError: a slice cannot be read or written, or the output was started with another model
            or image.
    """
    positions = shard.positions(stack.shape[0])
    values = label_table(labeller.models[0].label_values)
    staging.begin(identity)
    unreadable: list[LabelledSlice] = []
    # Under the lock of the share: no process deletes or restores slices that are another's.
    with staging.shard(shard.number, shard.count):
        forget_changed(
            staging=staging, positions=positions, labeller=labeller, stack=stack, console=console
        )
        staging.restore({z: kept for z, kept in (restored or {}).items() if z in positions})
        missing = staging.missing(positions)
        report_needs(
            folder=staging.folder, labeller=labeller, stack=stack, missing=missing, console=console
        )
        done = len(positions) - len(missing)
        if done:
            console.print(f"{done} of {len(positions)} slices are labelled already")
        watch = ShiftWatch(labeller.models, spread(missing, WATCHED_SLICES))
        labelled = label_and_keep(
            labeller=labeller,
            stack=stack,
            # Those that are compared with the training come first: what is wrong shows early.
            positions=[*watch.positions, *(z for z in missing if z not in watch.positions)],
            staging=staging,
            values=values,
            watched=watch.positions,
            say=console.print,
        )
        for labelled_slice in with_progress(labelled, len(missing), console):
            for text in watch.add(labelled_slice):
                console.print(f"warning: {text}")
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
        which = brief_list([labelled_slice.z for labelled_slice in unreadable])
        raise FibsegError(f"{unreadable[0].error} Slices {which} could not be read; {rest}.")
    if kept is None:
        depth = stack.shape[0]
        left = len(staging.missing(range(depth)))
        console.print(f"{len(positions)} slices are labelled; {left} of {depth} are missing")


def forget_changed(
    staging: Staging,
    positions: Collection[int],
    labeller: Labeller,
    stack: Stack,
    console: Console,
) -> None:
    """Delete kept slices whose image has changed since, so that they are labelled again.

    Args:
        staging: where slices are kept.
        positions: slices of the share that is labelled; the others are not touched.
        labeller: what labels a slice.
        stack: the image.
        console: takes what was found to differ.

    Raises:
        FibsegError: no slice is what it was: the image is another one.
    """
    all_digests = staging.digests()
    digests = {z: digest for z, digest in all_digests.items() if z in positions}
    if not digests:
        return
    console.print(f"{len(digests)} kept slices are compared with the image")
    grey_range = labeller.models[0].grey_range
    context = labeller.context
    changes = compare_slices(digests, stack, grey_range, context)
    # A share may hold a single slice, which was replaced: those of the others tell the image.
    if changes.other_image and compare_slices(all_digests, stack, grey_range, context).other_image:
        staging.refuse("images")
    staging.forget(changes.changed)
    report_changes(changes, console)


def label_and_keep(
    labeller: Labeller,
    stack: Stack,
    positions: Sequence[int],
    staging: Staging,
    values: NDArray[Any],
    watched: Collection[int] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[LabelledSlice]:
    """Give each slice once it is labelled; a thread writes it while the next one is computed.

    Args:
        labeller: what labels a slice.
        stack: the image.
        positions: slices to label.
        staging: where they are kept.
        values: label value of each class index.
        watched: positions of slices whose confidence is measured.
        say: takes a line where memory is short.
    """
    # One thread beside the network: compressing must not make it wait.
    with ThreadPoolExecutor(1) as writer, memory_errors_as_sentences(labeller):
        waiting = deque[tuple[LabelledSlice, Future[None] | None]]()
        labelled_slices = label_stack(
            labeller=labeller, stack=stack, positions=positions, watched=watched, say=say
        )
        for labelled in labelled_slices:
            future = None
            if labelled.labels is not None:
                pixels = [values[labelled.labels], *labelled.layers]
                if labelled.objects is not None:
                    pixels.append(labelled.objects)
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
    """Turn a device that runs out of memory into one sentence."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        advice = "take windows=tiles tile=512"
        if labeller.windows.kind not in ("whole", "tiles"):
            advice = "one window at a time is too much for it"
        elif has_exact_tiles(labeller.models):
            advice = "not even small tiles fit; end other programs there, or take another device="
        raise FibsegError(
            f"{labeller.compute.device}: too little memory for windows={labeller.windows}; "
            f"{advice}. Finished slices are kept."
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
        unit = "their numbers from 1" if output.rules is not None else "times 255"
        console.print(f"{output.path}: {output.notes['holds']}, {unit}")
