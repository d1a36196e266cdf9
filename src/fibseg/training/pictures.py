"""Pictures of a finished run, which can do without: labelled slices, curves, the shared truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from fibseg.data.grey import GreyRange, to_8bit
from fibseg.data.truth import write_truth
from fibseg.data.volume import AnnotatedSlice
from fibseg.machine import print_line
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import SCORED_SPLITS
from fibseg.stack import read_pages


@contextmanager
def warn_instead(what: str, report: Callable[[str], None]) -> Iterator[None]:
    """Let a block that makes `what` fail with a warning: no picture is worth a run."""
    try:
        yield
    # A full disk, too little memory, or whatever a library for drawings raises.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        report(f"warning: no {what} ({reason}); the scores need none.")


@dataclass(frozen=True)
class Scene:
    """What the pictures of a run show.

    Attributes:
        directory: of the run; it holds labels, and takes the pictures.
        slices: annotated slices by split.
        data_hash: of the slices.
        grey_range: grey values that become 0 and 255.
        class_names: names of the classes, background first.
    """

    directory: RunDirectory
    slices: dict[str, list[AnnotatedSlice]]
    data_hash: str
    grey_range: GreyRange
    class_names: Sequence[str]


def draw_pictures(scene: Scene, console: Console) -> None:
    """Draw slices and curves of a run whose scores are written, and keep the scored slices.

    What cannot be drawn is a warning. The same command draws it where it is lacking.
    """
    from fibseg.pages.figures import save_curves

    directory = scene.directory
    report = partial(print_line, console)
    with warn_instead("scored slices beside the runs", report):
        # Named by the data hash: all runs on the same data share one copy.
        folder = directory.path.parent / "truth" / scene.data_hash
        write_truth(folder, scene.slices, scene.class_names)
    for split in SCORED_SPLITS:
        # A data set without test slices has no labels of them.
        if directory.labels(split).exists():
            with warn_instead(f"picture of the {split} slices", report):
                _draw_split(scene, split)
    # A forest has no epochs, and so no curves.
    if directory.metrics.exists():
        with warn_instead("picture of the curves", report):
            save_curves(directory.picture("curves"), directory.metrics, scene.class_names)


def _draw_split(scene: Scene, split: str) -> None:
    """Draw the first, the middle and the last slice of a split."""
    from fibseg.pages.figures import save_panels

    slices = scene.slices[split]
    labels = read_pages(scene.directory.labels(split))
    rows = []
    # A set, since a split may have a single slice.
    for i in sorted({0, len(slices) // 2, len(slices) - 1}):
        image = to_8bit(slices[i].image, scene.grey_range)
        rows.append((f"{split}, slice {slices[i].z}", image, slices[i].labels, labels[i]))
    save_panels(scene.directory.picture(split), rows, scene.class_names)
