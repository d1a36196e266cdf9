"""One prediction from start to end: missing slices are labelled and kept, then finished."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from rich.console import Console

from fibseg.data.grey import DRIFTED_SHARE
from fibseg.errors import FibsegError
from fibseg.filters.patches import prefetched
from fibseg.prediction.intensity import spread
from fibseg.prediction.labeller import Labeller
from fibseg.prediction.memory import memory_errors_as_sentences
from fibseg.prediction.output.blocks import Claims, blocks_of
from fibseg.prediction.output.changes import brief_list, compare_slices, report_changes
from fibseg.prediction.output.outputs import KeptSlice, zero_pixels
from fibseg.prediction.output.progress import with_progress
from fibseg.prediction.output.session import StackSession
from fibseg.prediction.output.staging import Staging
from fibseg.prediction.preflight.activations import affordable
from fibseg.prediction.preflight.report import report_needs
from fibseg.prediction.shift import WATCHED_SLICES, ShiftWatch
from fibseg.prediction.slices import label_table
from fibseg.prediction.stack import LabelledSlice, label_stack
from fibseg.stack import Stack


def label_stack_into(
    staging: Staging,
    labeller: Labeller,
    stack: Stack,
    identity: dict[str, Any],
    skip_unreadable: bool,
    console: Console,
    restored: Mapping[int, KeptSlice] | None = None,
) -> bool:
    """Label the slices that no other process has, and finish the outputs if all are there then.

    Args:
        staging: where slices are kept, and what is made of them.
        labeller: what labels a slice.
        stack: the image.
        identity: `labeller_identity`, which a started output must share; its image is compared too.
        skip_unreadable: whether a slice that cannot be read becomes 0.
        console: takes the progress.
        restored: slices that outputs hold which an earlier prediction made.

    Returns:
        Whether the outputs are there; False where other processes are at work on the rest.

    Raises:
        FibsegError: a slice cannot be read or written, or the output was started with another model
            or image.
    """
    labeller = affordable(labeller, *stack.shape[1:], console.print)
    unreadable: list[LabelledSlice] = []
    with StackSession(staging.folder) as session:
        if not _begin(
            session=session,
            staging=staging,
            identity=identity,
            labeller=labeller,
            stack=stack,
            restored=restored or {},
            console=console,
        ):
            return _is_made_elsewhere(staging, console)
        if done := stack.shape[0] - staging.count_missing():
            console.print(f"{done} of {stack.shape[0]} slices are labelled already")
        # Again where another process has died with the last slices that were missing.
        labelled: list[int] = []
        while not unreadable:
            unreadable += _label_free(
                staging=staging,
                labeller=labeller,
                stack=stack,
                skip_unreadable=skip_unreadable,
                console=console,
                labelled=labelled,
            )
            is_last = session.is_last()
            kept = staging.finish() if is_last else None
            if kept is not None or not is_last:
                break
            _require_kept(staging, labelled)
            if not session.share():
                return _is_made_elsewhere(staging, console)
        if kept is not None:
            report_outputs(labeller, [entry.outside for entry in kept.values()], staging, console)
            zeroed = [z for z, entry in kept.items() if entry.zeroed]
            _require_all(zeroed, unreadable, "they are 0 in the output")
            return True
        rest = f"the rest is kept in {staging.folder}"
        # Without a labelled slice there is nothing to resume from.
        if is_last and not staging.kept():
            staging.remove()
            rest = "nothing is written"
        _require_all([failed.z for failed in unreadable], unreadable, rest)
    return _leave_rest(staging, stack.shape[0], console)


def _is_made_elsewhere(staging: Staging, console: Console) -> bool:
    console.print(f"{staging.outputs[0].path}: another process has just finished it")
    return True


def _require_kept(staging: Staging, labelled: Sequence[int]) -> None:
    """Refuse to label slices again that are lost as soon as they are written."""
    lost = staging.missing(labelled)
    if lost:
        raise FibsegError(
            f"{staging.outputs[0].path}: slices {brief_list(lost)} are not there although they "
            "were written; is the disk failing? The rest is kept, and the same command resumes."
        )


def _leave_rest(staging: Staging, depth: int, console: Console) -> bool:
    """Say what other processes still label; gives whether the last of them has finished."""
    if not staging.folder.exists():
        return _is_made_elsewhere(staging, console)
    missing = staging.count_missing()
    console.print(f"{missing} of {depth} slices are missing, which other processes label")
    return False


def _begin(
    session: StackSession,
    staging: Staging,
    identity: dict[str, Any],
    labeller: Labeller,
    stack: Stack,
    restored: Mapping[int, KeptSlice],
    console: Console,
) -> bool:
    """Join other processes, or find out what is missing and what that needs before any labels.

    False where another process has made the outputs meanwhile.
    """
    if not session.is_first:
        staging.require(identity)
        return True
    if not staging.begin(identity):
        return False
    forget_changed(staging=staging, labeller=labeller, stack=stack, console=console)
    staging.restore(restored)
    missing = staging.missing(range(stack.shape[0]))
    # Some of them may be 0 since an earlier attempt, and are tried again.
    staging.forget(missing)
    report_needs(staging=staging, labeller=labeller, stack=stack, missing=missing, console=console)
    return session.share()


def _require_all(positions: Sequence[int], unreadable: Sequence[LabelledSlice], rest: str) -> None:
    """Raise a FibsegError that names the slices that could not be read, unless there are none."""
    if positions:
        first = f"{unreadable[0].error} " if unreadable else ""
        raise FibsegError(f"{first}Slices {brief_list(positions)} could not be read; {rest}.")


def _label_free(
    staging: Staging,
    labeller: Labeller,
    stack: Stack,
    skip_unreadable: bool,
    console: Console,
    labelled: list[int],
) -> list[LabelledSlice]:
    """Label the slices that no other process has; gives those that cannot be read.

    Positions of the others are added to `labelled`.
    """
    depth = stack.shape[0]
    # Those that are compared with the training come first: what is wrong shows early.
    blocks = blocks_of(depth, spread(range(depth), WATCHED_SLICES), stack.layer)
    watched = [z for z in blocks[0] if not staging.has(z)]
    watch = ShiftWatch(labeller.models, watched)
    unreadable = []
    with closing(Claims(staging.folder, blocks, staging.has)) as claims:
        slices = label_and_keep(
            labeller=labeller,
            stack=stack,
            positions=claims,
            staging=staging,
            watched=watched,
            say=console.print,
        )
        for labelled_slice in with_progress(slices, staging.count_missing(), console):
            for text in watch.add(labelled_slice):
                console.print(f"warning: {text}")
            if labelled_slice.error is None:
                labelled.append(labelled_slice.z)
            else:
                unreadable.append(labelled_slice)
                if skip_unreadable:
                    # Marked as zeroed, so that the next command tries the slice again.
                    zeros = zero_pixels(stack.shape, staging.outputs)
                    staging.write(labelled_slice.z, zeros, KeptSlice(0.0, "", zeroed=True))
            claims.end(labelled_slice.z)
    return unreadable


def forget_changed(staging: Staging, labeller: Labeller, stack: Stack, console: Console) -> None:
    """Delete kept slices whose image has changed since, so that they are labelled again.

    Raises:
        FibsegError: no slice is what it was: the image is another one.
    """
    digests = staging.digests()
    if not digests:
        return
    console.print(f"{len(digests)} kept slices are compared with the image")
    changes = compare_slices(digests, stack, labeller.models[0].grey_range, labeller.context)
    if changes.other_image:
        staging.refuse("images")
    staging.forget(changes.changed)
    report_changes(changes, console)


def label_and_keep(
    labeller: Labeller,
    stack: Stack,
    positions: Iterable[int],
    staging: Staging,
    watched: Collection[int] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[LabelledSlice]:
    """Give each slice once it is labelled; a thread writes it while the next one is computed.

    Args:
        labeller: what labels a slice.
        stack: the image.
        positions: slices to label.
        staging: where they are kept.
        watched: positions of slices whose confidence is measured.
        say: takes a line where memory is short.
    """
    values = label_table(labeller.models[0].label_values)
    # One thread beside the network: compressing must not make it wait.
    with (
        ThreadPoolExecutor(1) as writer,
        memory_errors_as_sentences(labeller.compute.device, labeller.windows, labeller.models),
    ):

        def begin(labelled: LabelledSlice) -> Callable[[], LabelledSlice]:
            if labelled.labels is None:
                return lambda: labelled
            pixels = [values[labelled.labels], *labelled.layers]
            if labelled.objects is not None:
                pixels.append(labelled.objects)
            kept = KeptSlice(labelled.outside, labelled.digest, zeroed=False)
            future = writer.submit(staging.write, labelled.z, pixels, kept)

            def written() -> LabelledSlice:
                future.result()
                return labelled

            return written

        labelled_slices = label_stack(
            labeller=labeller, stack=stack, positions=positions, watched=watched, say=say
        )
        # Where the disk is slower than the network, finished slices must not fill the memory.
        yield from prefetched(labelled_slices, begin, 2)


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
