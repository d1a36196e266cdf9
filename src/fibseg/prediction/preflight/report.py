"""What a prediction will take, in a line before it starts, and refused where the disk is small."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fibseg.config.schemas import PredictConfig
from fibseg.errors import FibsegError
from fibseg.files import require_disk
from fibseg.machine import arithmetic
from fibseg.prediction.labeller import Labeller
from fibseg.prediction.output.outputs import in_files
from fibseg.prediction.output.staging import Staging
from fibseg.prediction.preflight.trial import Needs, tried
from fibseg.stack import Stack


def report_needs(
    staging: Staging, labeller: Labeller, stack: Stack, missing: Sequence[int], console: Console
) -> None:
    """Print what the prediction needs of time, memory and disk, before anything is kept.

    Args:
        staging: where slices are kept.
        labeller: what labels a slice.
        stack: the image.
        missing: slices to label.
        console: takes the line.

    Raises:
        FibsegError: the disk is too small.
    """
    if not missing:
        return
    try:
        # Not the first slice: stacks often begin with empty ones.
        needs = tried(
            labeller=labeller,
            stack=stack,
            z=missing[len(missing) // 2],
            outputs=staging.outputs,
            voxel_size=staging.voxel_size,
        )
    # A failed trial ends no prediction: what is wrong is reported by the prediction itself.
    except (FibsegError, OSError, RuntimeError, MemoryError) as error:
        console.print(f"what this will take is not known: {error}")
        return
    by_disk: dict[int, tuple[Path, float]] = {}
    for size, output in zip(needs.disk, staging.outputs, strict=True):
        place = output.path.absolute().parent
        # Slices that are kept in files lie beside the labels, and are written again at the end.
        _add(by_disk, place, size * (stack.shape[0] if in_files(output) else len(missing)))
        if in_files(output):
            _add(by_disk, staging.folder.absolute(), size * len(missing))
    written = sum(size for _, size in by_disk.values())
    console.print(sentence_of(needs, len(missing), written))
    for place, size in by_disk.values():
        require_disk(place, size, "the labels")


def _add(by_disk: dict[int, tuple[Path, float]], place: Path, size: float) -> None:
    """Add bytes to those of the disk of a folder."""
    disk = _disk(place)
    _, before = by_disk.get(disk, (place, 0.0))
    by_disk[disk] = (place, before + size)


def _disk(place: Path) -> int:
    """The disk on which a folder lies, or will lie."""
    existing = next(path for path in (place, *place.parents) if path.exists())
    return existing.stat().st_dev


def sentence_of(needs: Needs, slices: int, written: float) -> str:
    """Say what `slices` slices will take, of which `written` bytes are on the disk.

    >>> sentence_of(Needs(0.5, 2e9, [1e6]), 400, 8e8)
    'about 0.5 s a slice, 200 s in all (3 minutes) by one process; 2 GB of memory; 0.8 GB to write'
    """
    total = needs.seconds * slices
    minutes = f" ({total / 60:.0f} minutes)" if total > 120 else ""
    return (
        f"about {needs.seconds:.2g} s a slice, {total:.0f} s in all{minutes} by one process; "
        f"{needs.memory / 1e9:.2g} GB of memory; {written / 1e9:.2g} GB to write"
    )


def job_summary(labeller: Labeller, stack: Stack, config: PredictConfig) -> str:
    """Describe in one line what will be done."""
    depth, height, width = stack.shape
    slice_bytes = height * width * stack.dtype.itemsize
    memory = (
        f"{depth * slice_bytes / 1e9:.3g} GB, of which a few slices of {slice_bytes / 1e6:.3g} MB "
        "are in memory at once"
    )
    count = len(labeller.models)
    models = f"{count} models, " if count > 1 else ""
    loss = ""
    chosen = labeller.models[0].windows
    # Of another program's network nothing was measured.
    measured = chosen is not None and chosen["loss"] is not None
    if chosen and measured and count == 1 and config.windows == "auto":
        loss = f", which lost {chosen['loss']:.3f} F1 on validation slices"
    compute = labeller.compute
    return (
        f"{stack.name}: {depth} slices of {height} x {width}, {stack.dtype}, {memory}; "
        f"{models}windows {labeller.windows}{loss}; {compute.device.type}, "
        f"precision {arithmetic(compute.device, compute.precision)}"
    )
