"""What is computed from the label files of finished runs and the truth beside them; no inference.

Boundary F1 and clDice of thin classes, and 3-D objects over consecutive slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np

from fibseg.arrays import Floats, Place, UInt8, consecutive_places
from fibseg.comparison.detections import DetectionCounts, count_detected
from fibseg.comparison.volumes import VolumeFacts
from fibseg.errors import FibsegError
from fibseg.machine import cores, worker_pool
from fibseg.runs.components import Components
from fibseg.runs.directory import RunDirectory
from fibseg.runs.finished import FinishedRun
from fibseg.scores.boundaries import boundary_f1, cl_dice
from fibseg.scores.components import Bins, Component, find_components
from fibseg.stack import read_pages

LabelPair = tuple[UInt8, UInt8]
"""Labels (H, W) of one slice: the truth, and a prediction or another person's labels."""

_COUNTED: tuple[Literal["area", "overlap", "touched"], ...] = ("area", "overlap", "touched")

# The longer side where pixels are no squares, so that two pixels are near in every direction.
BOUNDARY_PIXELS = 2
"""Tolerance of a boundary where none is given, in pixels of the longer side."""


@dataclass(frozen=True)
class LabelMeasures:
    """The choice of what is computed from the label files of a run.

    Attributes:
        thin_classes: names of the classes whose boundary F1 and clDice are computed.
        tolerance: how near boundaries must be to count as equal, in nm; BOUNDARY_PIXELS for None.
        object_bins: how 3-D objects are sorted; None leaves them out.
    """

    thin_classes: tuple[str, ...] = ()
    tolerance: float | None = None
    object_bins: Bins | None = None


@dataclass(frozen=True)
class LabelScores:
    """The scores of one run that `LabelMeasures` asked for.

    Attributes:
        thin: class -> boundary F1 and clDice of each slice, (S, 2); NaN where the slice does not
            hold the class.
        objects: class -> counts of 3-D objects; empty where they were not asked for.
    """

    thin: dict[str, Floats]
    objects: dict[str, DetectionCounts] = field(default_factory=dict)


def score_labels(
    run: FinishedRun, volumes: VolumeFacts | None, measures: LabelMeasures
) -> LabelScores:
    """Read the labels of the test slices of one run, once, and compute everything from them.

    Raises:
        FibsegError: a file is missing or damaged or does not fit the run, or a tolerance in nm is
            given for a run without voxel sizes.
    """
    pairs = read_label_pairs(run)
    places = run.places["test"]
    thin = {
        name: thin_scores(
            pairs,
            class_index=run.class_names.index(name),
            spacings=pixel_sizes(run, places, volumes, measures.tolerance),
            tolerance=measures.tolerance,
        )
        for name in measures.thin_classes
    }
    if measures.object_bins is None:
        return LabelScores(thin)
    return LabelScores(thin, count_objects(pairs, places, run.class_names, measures.object_bins))


def score_labels_of(
    runs: Sequence[FinishedRun],
    volumes: Sequence[VolumeFacts | None],
    measures: LabelMeasures,
) -> list[LabelScores]:
    """`score_labels` of each run, over worker processes: a run takes a second and more."""
    # A partial of a function of this module can be sent to a process; a lambda cannot.
    score = partial(score_labels, measures=measures)
    workers = min(cores(), len(runs))
    # A worker needs about two seconds to start, which a few runs do not make up for.
    if workers < 2 or len(runs) < 4:
        return list(map(score, runs, volumes))
    with worker_pool(workers) as pool:
        return list(pool.map(score, runs, volumes))


def read_label_pairs(run: FinishedRun) -> list[LabelPair]:
    """Truth and prediction (H, W) of each test slice.

    Raises:
        FibsegError: a file is missing or damaged, or does not fit the run.
    """
    folder = run.path.parent / "truth" / run.data_hash
    truths = _read_truth(folder / "test-labels.tif")
    predictions = _read_labels(RunDirectory(run.path).labels("test"))
    # Not strict: unequal numbers get the sentence below.
    pairs = list(zip(truths, predictions, strict=False))
    is_same_shape = all(truth.shape == prediction.shape for truth, prediction in pairs)
    if not len(truths) == len(predictions) == len(run.places["test"]) or not is_same_shape:
        raise FibsegError(
            f"{run.path}: labels/test.tif and the truth beside the run are of different slices."
        )
    return pairs


def _read_truth(path: Path) -> tuple[UInt8, ...]:
    """The truth of a data set, which is read once for all of its runs."""
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise _unreadable(path, error) from error
    return _read_truth_once(path, changed)


# Of one data set at a time, since labels take a byte per pixel of its test slices.
@lru_cache(maxsize=1)
def _read_truth_once(path: Path, _changed: int) -> tuple[UInt8, ...]:
    # `_changed` is a part of the key, so that a file that was written anew is read again.
    return tuple(_read_labels(path))


def _read_labels(path: Path) -> list[UInt8]:
    try:
        return read_pages(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> FibsegError:
    return FibsegError(
        f"{path}: missing or damaged ({error}), but scores from label files and figures need it."
    )


def pixel_sizes(
    run: FinishedRun,
    places: Sequence[Place],
    volumes: VolumeFacts | None,
    tolerance: float | None,
) -> list[tuple[float, float]]:
    """Sides (y, x) of a pixel in nm on each slice; (1, 1) for a run without voxel sizes.

    Raises:
        FibsegError: the run has no voxel sizes, but the tolerance is in nm.
    """
    if volumes is not None:
        return [volumes.voxel_sizes[place.volume][1:] for place in places]
    if tolerance is not None:
        raise FibsegError(
            f"{run.path}: its config.yaml has no voxel size, which --tolerance in nm needs; "
            "leave --tolerance out."
        )
    # Then distances are in pixels, and pixels count as squares.
    return [(1.0, 1.0)] * len(places)


def thin_scores(
    pairs: Sequence[LabelPair],
    class_index: int,
    spacings: Sequence[tuple[float, float]],
    tolerance: float | None,
) -> Floats:
    """Boundary F1 and clDice of a class on each slice: (S, 2); NaN where it is not in the truth.

    Args:
        pairs: truth and prediction of S slices.
        class_index: the class.
        spacings: sides (y, x) of a pixel on each slice.
        tolerance: how near boundaries must be, in the unit of `spacings`; BOUNDARY_PIXELS for None.
    """
    rows = []
    for (truth, prediction), spacing in zip(pairs, spacings, strict=True):
        # Slice by slice, because volumes may differ in their voxel size.
        near = BOUNDARY_PIXELS * max(spacing) if tolerance is None else tolerance
        boundary = boundary_f1(truth, prediction, class_index, tolerance=near, spacing=spacing)
        rows.append((boundary, cl_dice(truth, prediction, class_index)))
    # The shape is (0, 2) without slices; an empty array alone would be (0,).
    return np.array(rows, np.float64).reshape(-1, 2)


def count_objects(
    pairs: Sequence[LabelPair], places: Sequence[Place], names: Sequence[str], bins: Bins
) -> dict[str, DetectionCounts]:
    """Count 3-D objects of each class over consecutive slices, 26-connected.

    Args:
        pairs: truth and prediction of each slice.
        places: where the slices lie.
        names: of the classes, background first.
        bins: how objects are sorted by their share; sizes are in voxels.
    """
    # Slices with a gap between them say nothing of what connects them.
    objects: list[Component] = []
    for block in consecutive_places(places):
        truth = np.stack([pairs[k][0] for k in block])
        prediction = np.stack([pairs[k][1] for k in block])
        objects += find_components(truth, prediction, len(names))
    return count_by_class(objects, names, bins)


def count_by_class(
    components: Sequence[Component], names: Sequence[str], bins: Bins
) -> dict[str, DetectionCounts]:
    """Counts of each foreground class from components that were just found in labels."""
    counts = {}
    for index, name in enumerate(names[1:], 1):
        of_class = [
            component
            for component in components
            if component["class_index"] == index and component["area"] >= bins.smallest
        ]
        columns = (
            np.array([component[column] for component in of_class], np.int64) for column in _COUNTED
        )
        of_truth = np.array([component["of"] == "truth" for component in of_class], bool)
        # Where a component lies plays no part in the counts.
        places = np.zeros((2, len(of_class)), np.int64)
        counts[name] = count_detected(Components(of_truth, *columns, *places), bins)
    return counts
