"""What is worked out from the label files of finished runs and the truth beside them; no inference.

Boundary F1 and clDice of thin classes, 3-D objects, and the second expert.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fibseg.comparison.detections import DetectionCounts, count_detected
from fibseg.data.slices import parse_slices
from fibseg.errors import FibsegError
from fibseg.machine import cores, worker_pool
from fibseg.runs.collection import Counts, FinishedRun
from fibseg.runs.components import Components
from fibseg.runs.directory import RunDirectory
from fibseg.runs.identity import read_config
from fibseg.scores.boundaries import boundary_f1, cl_dice
from fibseg.scores.components import Bins, Component, find_components
from fibseg.scores.pixels import confusion_counts
from fibseg.stack import read_pages

Labels = NDArray[np.uint8]
Place = tuple[int, int]
Floats = NDArray[np.float64]

COLUMNS: tuple[Literal["area", "overlap", "touched"], ...] = ("area", "overlap", "touched")
PIXELS = 2
"""Tolerance of a boundary where none is given, in pixels: the longer side of a pixel counts."""


@dataclass(frozen=True)
class VolumeFacts:
    """Of each volume of a run's data: voxel size (z, y, x) in nm, and the slices that were trained on."""

    voxel_sizes: list[tuple[float, float, float]]
    trained: list[list[int]]


def volume_facts(run: FinishedRun) -> VolumeFacts | None:
    """From config.yaml of a run; None where it is missing or damaged."""
    try:
        config = read_config(RunDirectory(run.path))
        if config is None:
            return None
        volumes = config["data"]["volumes"]
        sizes = [
            (float(z), float(y), float(x)) for z, y, x in (one["voxel_size"] for one in volumes)
        ]
        trained = [parse_slices(one["split"]["train"], 10**6, "split") for one in volumes]
    except (FibsegError, KeyError, TypeError, ValueError):
        return None
    return VolumeFacts(sizes, trained)


def second_expert(runs: Sequence[FinishedRun]) -> tuple[list[Place], Counts] | None:
    """Test slices that a second person annotated, and confusion counts (S, K, K) of that person against the first.

    From truth/ beside one of these runs of a data set; None where there is none, or nothing of it in the test split.
    """
    found = _second_expert(runs)
    if found is None:
        return None
    places, pairs = found
    return places, np.stack([confusion_counts(*pair, len(runs[0].names)) for pair in pairs])


def truth_of(runs: Sequence[FinishedRun]) -> Path:
    """Folder of the truth beside one of these runs of a data set: the first that is there."""
    folders = [run.path.parent / "truth" / run.data_hash for run in runs]
    return next((one for one in folders if (one / "test-labels.tif").is_file()), folders[0])


def _second_expert(
    runs: Sequence[FinishedRun],
) -> tuple[list[Place], list[tuple[Labels, Labels]]] | None:
    """Places, and the labels of both persons."""
    run, truth = runs[0], truth_of(runs)
    try:
        splits = json.loads((truth / "truth.json").read_text(encoding="utf-8"))["splits"]
        places = [
            (int(one["volume"]), int(one["slice"])) for one in splits.get("second_expert", [])
        ]
        chosen = [place for place in places if place in run.places["test"]]
        if not chosen:
            return None
        first = read_pages(
            truth / "test-labels.tif", [run.places["test"].index(place) for place in chosen]
        )
        second = read_pages(
            truth / "second_expert-labels.tif", [places.index(place) for place in chosen]
        )
        if any(a.shape != b.shape for a, b in zip(first, second, strict=True)):
            return None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return chosen, list(zip(first, second, strict=True))


def expert_labels(runs: Sequence[FinishedRun]) -> dict[Place, Labels] | None:
    """The second expert's labels (H, W) of test slices; None without any."""
    found = _second_expert(runs)
    return (
        None
        if found is None
        else {place: second for place, (_, second) in zip(*found, strict=True)}
    )


def labels_of(run: FinishedRun) -> list[tuple[Labels, Labels]]:
    """Truth and prediction (H, W) of each test slice.

    Raises:
        FibsegError: a file of them is missing or damaged, or does not fit the run.
    """
    truth = run.path.parent / "truth" / run.data_hash / "test-labels.tif"
    sides = []
    for path in (truth, RunDirectory(run.path).labels("test")):
        try:
            sides.append(read_pages(path))
        except (OSError, ValueError) as error:
            raise FibsegError(
                f"{path}: missing or damaged ({error}); it is needed for what was asked."
            ) from error
    pairs = list(zip(*sides, strict=False))
    shapes = {(a.shape, b.shape) for a, b in pairs if a.shape != b.shape}
    if not len(sides[0]) == len(sides[1]) == len(run.places["test"]) or shapes:
        raise FibsegError(
            f"{run.path}: labels/test.tif and the truth beside the run are of different slices."
        )
    return pairs


def thin_scores(run: FinishedRun, name: str, tolerance: float | None) -> Floats:
    """Boundary F1 and clDice of a class on each test slice: (S, 2); NaN where the slice does not hold the class.

    Args:
        run: whose labels are scored.
        name: of the class.
        tolerance: what is near, in nm; PIXELS pixels for None.

    Raises:
        FibsegError: labels are missing, or a tolerance in nm is given for a run that tells no voxel size.
    """
    return _thin(run, name, tolerance, run.places["test"], labels_of(run))


def thin_scores_of(runs: Sequence[FinishedRun], name: str, tolerance: float | None) -> list[Floats]:
    """`thin_scores` of each run; in processes, since a run takes a second and more."""
    workers = min(cores(), len(runs))
    scores = partial(thin_scores, name=name, tolerance=tolerance)
    if workers < 2 or len(runs) < 4:
        return [scores(run) for run in runs]
    with worker_pool(workers) as pool:
        return list(pool.map(scores, runs))


def expert_thin_scores(
    runs: Sequence[FinishedRun], name: str, tolerance: float | None
) -> tuple[list[Place], Floats] | None:
    """`thin_scores` of the second expert, on that expert's slices; None without one."""
    found = _second_expert(runs)
    if found is None:
        return None
    places, pairs = found
    return places, _thin(runs[0], name, tolerance, places, pairs)


def _thin(
    run: FinishedRun,
    name: str,
    tolerance: float | None,
    places: Sequence[Place],
    pairs: Sequence[tuple[Labels, Labels]],
) -> Floats:
    facts, index = volume_facts(run), run.names.index(name)
    if facts is None and tolerance is not None:
        raise FibsegError(
            f"{run.path}: its config.yaml tells no voxel size, so --tolerance in nm has no meaning."
        )
    rows = []
    for (volume, _), (truth, prediction) in zip(places, pairs, strict=True):
        spacing = (1.0, 1.0) if facts is None else facts.voxel_sizes[volume][1:]
        near = PIXELS * max(spacing) if tolerance is None else tolerance
        rows.append(
            (
                boundary_f1(truth, prediction, index, near, spacing),
                cl_dice(truth, prediction, index),
            )
        )
    return np.array(rows, np.float64).reshape(-1, 2)


def objects(run: FinishedRun, bins: Bins) -> dict[str, DetectionCounts]:
    """3-D objects of each class over consecutive test slices, 26-connected, in the bins of Table 2.

    Args:
        run: whose labels are read.
        bins: how objects are sorted by their shares; `smallest` is in voxels.
    """
    pairs = labels_of(run)
    found: list[Component] = []
    for block in consecutive(run.places["test"]):
        truth, prediction = (np.stack([pairs[k][side] for k in block]) for side in (0, 1))
        found += find_components(truth, prediction, len(run.names))
    return _counted(found, run.names, bins)


def _counted(
    found: Sequence[Component], names: Sequence[str], bins: Bins
) -> dict[str, DetectionCounts]:
    counts = {}
    for index, name in enumerate(names[1:], 1):
        own = [one for one in found if one["class_index"] == index and one["area"] >= bins.smallest]
        columns = (np.array([one[key] for one in own], np.int64) for key in COLUMNS)
        of_truth = np.array([one["of"] == "truth" for one in own], bool)
        counts[name] = count_detected(
            Components(of_truth, *columns, *np.zeros((2, len(own)), np.int64)), bins
        )
    return counts


def expert_detections(
    runs: Sequence[FinishedRun], bins: Bins
) -> tuple[list[Place], dict[str, DetectionCounts]] | None:
    """Components of the second expert's slices, that expert in place of a prediction; None without one."""
    found = _second_expert(runs)
    if found is None:
        return None
    places, pairs = found
    every = [one for pair in pairs for one in find_components(*pair, len(runs[0].names))]
    return places, _counted(every, runs[0].names, bins)


def consecutive(places: Sequence[Place]) -> list[list[int]]:
    """Positions of slices that follow each other in one volume.

    >>> consecutive([(0, 3), (0, 4), (0, 6), (1, 7)])
    [[0, 1], [2], [3]]
    """
    order = sorted(range(len(places)), key=lambda k: places[k])
    blocks: list[list[int]] = []
    for k in order:
        volume, z = places[k]
        if blocks and places[blocks[-1][-1]] == (volume, z - 1):
            blocks[-1].append(k)
        else:
            blocks.append([k])
    return blocks
