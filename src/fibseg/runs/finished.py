"""One finished run: its scores in memory, read from its directory and checked."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Floats, Ints, Place
from fibseg.errors import FibsegError
from fibseg.runs.components import components_file, components_of
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import SCORED_SPLITS, read_scores
from fibseg.scores.instances.splits import SplitMatches
from fibseg.scores.pixels import f1_by_class, f1_scores

# train.py gives no other name, so a directory with another one did not come from it. Names go into
# pages, tables and W&B, where others might be taken for markup.
_RUN_NAME = re.compile(r"[A-Za-z0-9._-]+")

_NEEDED_FACTS = ("model", "filter", "seed", "data", "config_hash", "data_hash")
"""Facts that scores.json must hold of a run."""

_FOLD_IN_NAME = re.compile(r"-folds?_\d+")


@dataclass(frozen=True)
class FinishedRun:
    """A run that has its scores.

    Attributes:
        path: its directory.
        configuration: its name without seed, hash and fold, as unet-on-quick.
        key: hashes of configuration and data; runs of one key differ in the seed only.
        data: name of the data set; `collect` makes it fit a file name.
        data_hash: hash of the pixels and labels of the data set.
        facts: what scores.json says of the run: model, filter, seed and more.
        class_names: background first.
        confusions: split -> (S, K, K) pixels by class on each slice, rows truth.
        places: split -> where each slice lies.
        metrics: numbers of each epoch; [] where metrics.csv is missing or damaged.
        objects: split -> matches of objects; {} where no class has objects.
    """

    path: Path
    configuration: str
    key: tuple[str, str]
    data: str
    data_hash: str
    facts: dict[str, Any]
    class_names: list[str]
    confusions: dict[str, Ints]
    places: dict[str, list[Place]]
    metrics: list[dict[str, float]]
    objects: dict[str, SplitMatches] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return int(self.facts["seed"])

    @property
    def fold(self) -> int | None:
        """Number of the fold that was tested; None without folds."""
        return self.facts.get("fold")

    @property
    def adopted(self) -> bool:
        """Whether another program made the labels: its seeds draw other numbers than ours."""
        return bool(self.facts.get("adopted", False))

    @property
    def seconds(self) -> float | None:
        """Seconds of training and scoring, None where nobody recorded them."""
        return self.facts.get("seconds")

    def mean_iou(self, split: str) -> float:
        """Mean over the foreground classes of the intersection over union.

        Of the pixels of all slices together, as papers on mitochondria give it (foreground IoU). A
        class that neither truth nor prediction holds is in no mean; NaN without any.
        """
        total = self.confusions[split].sum(axis=0)
        hits = np.diag(total)[1:]
        unions = (total.sum(axis=0) + total.sum(axis=1))[1:] - hits
        known = unions > 0
        return float(np.mean(hits[known] / unions[known])) if known.any() else float("nan")

    def f1(self, split: str) -> dict[str, float]:
        """Mean per-slice F1 of each foreground class; NaN where no slice of the split holds it."""
        return f1_by_class(self.confusions[split], self.class_names)

    def f1_by_slice(self, split: str) -> Floats:
        """F1 by slice and class (S, K); NaN where the slice does not hold the class."""
        return f1_scores(self.confusions[split])

    def on_slices(self, split: str, places: Sequence[Place]) -> dict[str, float]:
        """Mean per-slice F1 of each foreground class over some slices of a split."""
        chosen = [self.places[split].index(place) for place in places]
        return f1_by_class(self.confusions[split][chosen], self.class_names)

    @property
    def validation_sum(self) -> float:
        """Sum of the validation F1 over the foreground classes, by which the paper chose runs."""
        return float(np.nansum(list(self.f1("validation").values())))


def read_run(path: Path) -> FinishedRun:
    """Read the scores of a run directory.

    Raises:
        FibsegError: the run is unfinished, damaged or of a newer schema.
    """
    if not _RUN_NAME.fullmatch(path.name):
        raise FibsegError(
            f"{path}: not a run's name; train.py writes letters, digits and . _ - only."
        )
    scores = read_scores(RunDirectory(path))
    try:
        facts: dict[str, Any] = {name: str(scores.facts[name]) for name in _NEEDED_FACTS}
        facts["seed"] = int(scores.facts["seed"])
        if scores.facts.get("fold") is not None:
            facts |= {name: int(scores.facts[name]) for name in ("fold", "folds")}
            facts["folds_hash"] = str(scores.facts["folds_hash"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FibsegError(f"{path}: scores.json is damaged ({error}).") from error
    # The end of a name is the seed and the hash, as `run_name` writes them.
    configuration = re.sub(r"-s\d+-[0-9a-f]{8}$", "", path.name)
    if "fold" in facts:
        # Runs of one fold are compared, so that its number says nothing beside them.
        configuration = _FOLD_IN_NAME.sub("", configuration)
    return FinishedRun(
        path=path,
        configuration=configuration,
        # The name alone is not enough: a configuration can be trained on two versions of its data.
        key=(facts["config_hash"], facts["data_hash"]),
        data=facts["data"],
        data_hash=facts["data_hash"],
        facts=scores.facts | facts,
        class_names=scores.class_names,
        confusions=scores.confusions,
        places=scores.places,
        metrics=scores.metrics,
        objects=scores.objects,
    )


def check_components(run: FinishedRun) -> None:
    """Check the components of a run against its scores.json.

    Both count the same pixels, so that a file that is cut off is noticed.

    Raises:
        FibsegError: components.csv is missing or damaged, or it does not fit.
    """
    # Only foreground classes have components; class 0 is in no row of the file.
    for split, (index, class_name) in itertools.product(
        SCORED_SPLITS, enumerate(run.class_names[1:], 1)
    ):
        confusion = run.confusions[split].sum(axis=0)
        components = components_of(run.path, split, class_name)
        sides = (components.of_truth, ~components.of_truth)
        areas = [int(components.area[side].sum()) for side in sides]
        # Seen from either side, the pixels in common are the hits of the class.
        overlaps = [int(components.overlap[side].sum()) for side in sides]
        # Rows of the confusion counts are the truth, columns the prediction.
        if areas != [confusion[index].sum(), confusion[:, index].sum()] or overlaps != [
            confusion[index, index]
        ] * len(sides):
            name = components_file(RunDirectory(run.path)).name
            raise FibsegError(f"{run.path}: {name} does not fit scores.json; is it cut off?")
