"""A checklist of what reviewers ask of a comparison, filled where the runs know the answer.

The questions follow the reproducibility checklist of MICCAI and Metrics Reloaded (Maier-Hein et
al., Nature Methods 2024), in this project's words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fibseg.comparison.dataset import Dataset
from fibseg.comparison.manuscript.methods import split_sizes
from fibseg.errors import FibsegError
from fibseg.runs.finished import FinishedRun

OPEN = ""
"""An answer that only the authors know."""


class Item(NamedTuple):
    """A question of the checklist, and its answer or OPEN."""

    question: str
    answer: str


def checklist(dataset: Dataset) -> list[Item]:
    """Every question, in order; the answers are those of the run directories."""
    return [
        Item(question, answer if isinstance(answer, str) else answer(dataset))
        for question, answer in _QUESTIONS
    ]


def _code(dataset: Dataset) -> str:
    runs = _trained(dataset)
    commits = {(run.facts.get("versions") or {}).get("commit") for run in runs} - {None}
    texts = [f"fibseg, commit {' or '.join(sorted(map(str, commits)))}"] if commits else []
    if dataset.adopted:
        texts.append(f"another program for {', '.join(dataset.adopted)}")
    return "; ".join(texts) or OPEN


def _trained(dataset: Dataset) -> list[FinishedRun]:
    """Runs whose training is recorded."""
    return [run for run in dataset.runs if not run.adopted]


def _configuration(dataset: Dataset) -> str:
    if not _trained(dataset):
        return OPEN
    count = len(dataset.configurations)
    but = f" but those of {', '.join(dataset.adopted)}" if dataset.adopted else ""
    return f"config.yaml of each run{but}; {count} configurations were compared"


def _splits(dataset: Dataset) -> str:
    config = dataset.config(dataset.runs[0])
    try:
        sizes = split_sizes(config or {})
    except (KeyError, TypeError, FibsegError):
        return OPEN
    return ", ".join(f"{count} {split}" for split, count in sizes.items()) + " slices"


def _distance(dataset: Dataset) -> str:
    """How near test slices lie to training slices: neighbours look alike."""
    facts = dataset.volumes(dataset.runs[0])
    if facts is None:
        return OPEN
    gaps = [
        abs(place.z - z)
        for place in dataset.places
        if place.volume < len(facts.trained_slices)
        for z in facts.trained_slices[place.volume]
    ]
    if not gaps:
        return "test and training slices lie in different volumes"
    gap = "1 slice" if min(gaps) == 1 else f"{min(gaps)} slices"
    return f"the nearest test slice is {gap} from a training slice of its volume"


def _second_expert(dataset: Dataset) -> str:
    if dataset.second_expert is None:
        return OPEN
    return f"{len(dataset.second_expert.places)} test slices by a second expert"


def _seeds(dataset: Dataset) -> str:
    counts = sorted({len(runs) for runs in dataset.configurations.values()})
    return f"{' or '.join(map(str, counts))} runs of each configuration, which differ in the seed"


def _left_out(dataset: Dataset) -> str:
    count = len(dataset.left_out)
    return f"{count}: {'; '.join(dataset.left_out)}" if count else "none in these folders"


_METRICS = (
    "F1 of each class, from the pixels of each slice; F1, IoU, precision and recall of all "
    "pixels together; components by the share that is detected, missed, merged and split"
)

_AGGREGATION = (
    "mean over the test slices whose truth holds the class, then over runs; false positives on "
    "other slices are in the pooled scores"
)


def _uncertainty(dataset: Dataset) -> str:
    has_seeds = any(len(runs) > 1 for runs in dataset.configurations.values())
    texts = ["95 % intervals over seeds"] if has_seeds else []
    if any(contrast.is_tested for contrast in dataset.contrasts):
        texts.append("joint sign flips for each question's contrasts")
    elif all(contrast.paired for contrast in dataset.contrasts):
        texts.append("no test: too few seeds, or nothing to compare")
    if not all(contrast.paired for contrast in dataset.contrasts):
        names = ", ".join(dataset.adopted)
        texts.append(f"Welch's 95 % intervals without pairs and no test for {names}")
    return "; ".join(texts)


def _primary(dataset: Dataset) -> str:
    primary = dataset.questions.primary
    return f"{primary}, as --primary says" if primary else OPEN


def _time(dataset: Dataset) -> str:
    seconds = [run.facts["seconds"] for run in _trained(dataset) if "seconds" in run.facts]
    if not seconds:
        return OPEN
    total = sum(seconds) / 3600
    return f"{np.mean(seconds) / 60:.1f} minutes a run, {total:.1f} hours in all"


def _hardware(dataset: Dataset) -> str:
    names = set()
    for label, runs in dataset.configurations.items():
        stated = f" ({label}, as stated)" if label in dataset.adopted else ""
        devices = {run.facts.get("device_name") or run.facts.get("device") for run in runs}
        names |= {f"{device}{stated}" for device in devices - {None}}
    return ", ".join(sorted(names)) or OPEN


def _parameters(dataset: Dataset) -> str:
    counts = {
        f"{label}: {run.facts['parameters']:,}"
        for label, runs in dataset.configurations.items()
        for run in runs
        if run.facts.get("parameters")
    }
    return "; ".join(sorted(counts)) or OPEN


def _failures(dataset: Dataset) -> str:
    if np.isnan(dataset.f1_of_slices).all():
        return OPEN
    place = dataset.places[int(np.nanargmin(dataset.f1_of_slices))]
    return f"the worst test slice is {place.z} of volume {place.volume}"


_QUESTIONS: tuple[tuple[str, Callable[[Dataset], str] | str], ...] = (
    ("Where do the images come from, and under which licence?", OPEN),
    ("Was there an approval by an ethics board, where one is needed?", OPEN),
    ("Who annotated the slices, by which instructions?", OPEN),
    ("Was a part annotated twice, to know how far experts agree?", _second_expert),
    ("How were slices split?", _splits),
    ("Do neighbouring slices lie in different splits?", _distance),
    ("Which code was run?", _code),
    ("Is the code public, and where?", OPEN),
    ("Where are all hyperparameters?", _configuration),
    ("What else was tried, and how were hyperparameters chosen?", OPEN),
    ("How many trainings are behind each number?", _seeds),
    ("Which runs failed, diverged or were left out?", _left_out),
    ("Which metrics are given?", _METRICS),
    ("Why do these metrics fit the biological question?", OPEN),
    ("How are scores aggregated, and what of slices without a class?", _AGGREGATION),
    ("Which intervals and tests were used?", _uncertainty),
    ("Was the main question fixed before the runs?", _primary),
    ("On which hardware?", _hardware),
    ("How long does a run take?", _time),
    ("How much memory does a run take?", OPEN),
    ("How many parameters has each model?", _parameters),
    ("Where does the method fail?", _failures),
    ("Are trained models public, and where?", OPEN),
)
"""Each question with its answer, or what answers it from the runs."""
