"""The finished runs of one data set and what is read beside them, each file once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Floats, Place
from fibseg.comparison.contrasts import Contrast, contrasts_of
from fibseg.comparison.labels import LabelMeasures, LabelScores, score_labels_of
from fibseg.comparison.pairings import USUAL_QUESTIONS, Pairing, Questions, pairings
from fibseg.comparison.rows import ScoreRow, score_rows
from fibseg.comparison.second_expert import ExpertLabels, read_expert_labels
from fibseg.comparison.volumes import VolumeFacts, volume_facts
from fibseg.errors import FibsegError
from fibseg.runs.collection import Collection, configurations
from fibseg.runs.directory import RunDirectory
from fibseg.runs.finished import FinishedRun
from fibseg.runs.identity import read_config, scientific

SliceCurve = dict[int, list[FinishedRun]]
"""Number of training slices -> runs."""


@dataclass(frozen=True)
class Dataset:
    """Finished runs that were scored on the same slices with the same classes.

    Every table, chart, gallery and sentence takes this object: what one of them has read or
    computed, the next one uses.

    Attributes:
        runs: one or more runs.
        left_out: phrases for the run directories beside them that could not be read.
        questions: what is asked beside filter and model. A pair or a baseline of which this data
            set lacks a configuration is passed over.
        other_folds: of the first fold of several, the data sets of the others.
    """

    runs: Sequence[FinishedRun]
    left_out: Sequence[str] = ()
    questions: Questions = USUAL_QUESTIONS
    other_folds: Sequence[Dataset] = ()
    # Not a field of the data set but its memory: it has no part in its equality, nor in its repr.
    _configs: dict[Path, dict[str, Any] | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def name(self) -> str:
        """Name of the data set, which fits a file name."""
        return self.runs[0].data

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, background first."""
        return self.runs[0].class_names

    @property
    def foreground(self) -> list[str]:
        """Names of the classes without the background, which is in no table."""
        return self.class_names[1:]

    @property
    def places(self) -> list[Place]:
        """Where the test slices lie."""
        return self.runs[0].places["test"]

    # A cached property is kept in __dict__, which is open in a frozen dataclass, too.

    @cached_property
    def configurations(self) -> Mapping[str, list[FinishedRun]]:
        """Runs by the name of their configuration; those of one differ in the seed only."""
        return configurations(self.runs)

    @property
    def adopted(self) -> list[str]:
        """Names of the configurations whose labels another program made."""
        return [label for label, runs in self.configurations.items() if runs[0].adopted]

    @cached_property
    def score_rows(self) -> list[ScoreRow]:
        """Test scores of each configuration and class."""
        return score_rows(self.configurations, "test")

    @cached_property
    def f1_of_slices(self) -> Floats:
        """Test F1 of each slice (S,), mean of foreground classes and runs; NaN without a class."""
        scores = np.array([run.f1_by_slice("test")[:, 1:] for run in self.runs])
        counts = np.isfinite(scores).sum(axis=(0, 2))
        sums = np.nansum(scores, axis=(0, 2))
        return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))

    @cached_property
    def truth_folder(self) -> Path:
        """The folder of the scored slices beside one of the runs: the first that is there."""
        # Runs of one data set may lie in several folders, of which one may have been copied without
        # truth/. Their hash is the same, so that any copy of it holds the same slices.
        folders = [run.path.parent / "truth" / run.data_hash for run in self.runs]
        existing = (folder for folder in folders if (folder / "test-labels.tif").is_file())
        return next(existing, folders[0])

    @cached_property
    def second_expert(self) -> ExpertLabels | None:
        """Test slices that a second person annotated; None without any."""
        return read_expert_labels(self.truth_folder, self.places)

    def config(self, run: FinishedRun) -> dict[str, Any] | None:
        """Content of config.yaml of a run; None where it is missing or damaged."""
        # Read when it is asked for: YAML takes 10 ms a file, and most runs need none.
        if run.path not in self._configs:
            try:
                self._configs[run.path] = read_config(RunDirectory(run.path))
            # What config.yaml adds is optional in a comparison, which must not fail without it.
            except FibsegError:
                self._configs[run.path] = None
        return self._configs[run.path]

    def volumes(self, run: FinishedRun) -> VolumeFacts | None:
        """Voxel sizes and training slices of the volumes of a run; None where they are missing."""
        return volume_facts(self.config(run))

    @cached_property
    def pairings(self) -> list[Pairing]:
        """Which configurations are compared with each other.

        Raises:
            FibsegError: a named pair has one configuration twice.
        """
        # Runs of a configuration share the hash of their science, so that the first one speaks for
        # all.
        configs = {label: self.science(runs[0]) for label, runs in self.configurations.items()}
        named_pairs = [pair for pair in self.questions.named_pairs if self.has_both(pair)]
        asked = replace(self.questions, named_pairs=named_pairs)
        return pairings(self.configurations, configs, asked)

    def has_both(self, pair: tuple[str, str]) -> bool:
        """Whether both names of a pair are configurations of this data set."""
        return all(label in self.configurations for label in pair)

    def science(self, run: FinishedRun) -> dict[str, Any] | None:
        """The part of config.yaml that can change a result."""
        config = self.config(run)
        if config is None:
            return None
        try:
            return scientific(config)
        # Valid YAML of another program, or of an older version, may lack whole groups of keys.
        except (KeyError, TypeError, AttributeError):
            return None

    @cached_property
    def contrasts(self) -> list[Contrast]:
        """Every contrast, those of a question tested together."""
        return contrasts_of(self.configurations, self.pairings, self.questions.margin)

    def label_scores(self, measures: LabelMeasures) -> dict[Path, LabelScores]:
        """Path of each run -> what is computed from its label files, which are read once.

        Raises:
            FibsegError: a label file is missing or damaged, or a run has no voxel size for a
                tolerance in nm.
        """
        # Only distances need voxel sizes; without them config.yaml stays unread, 10 ms a run.
        needs_volumes = bool(measures.thin_classes)
        volumes = [self.volumes(run) if needs_volumes else None for run in self.runs]
        scores = score_labels_of(self.runs, volumes, measures)
        return {run.path: score for run, score in zip(self.runs, scores, strict=True)}


def datasets_of(collection: Collection, questions: Questions = USUAL_QUESTIONS) -> list[Dataset]:
    """The data sets of a collection of runs, in order of name.

    Args:
        collection: finished runs of one or several data sets.
        questions: what is asked of each.

    Raises:
        FibsegError: no data set has both configurations of a pair, or the baseline.
    """
    datasets = _with_other_folds(
        [Dataset(runs, collection.left_beside(runs), questions) for runs in collection.data_sets()]
    )
    labels = dict.fromkeys(label for dataset in datasets for label in dataset.configurations)
    known = f"the configurations are {', '.join(labels)}."
    for pair in questions.named_pairs:
        # A name may be of one data set only, which is no mistake; a name that is of none is a
        # typing error.
        if not any(dataset.has_both(pair) for dataset in datasets):
            raise FibsegError(f"--pair {' '.join(pair)}: no data set has both; {known}")
    if questions.baseline is not None and questions.baseline not in labels:
        raise FibsegError(f"--baseline: no configuration {questions.baseline}; {known}")
    return datasets


def _with_other_folds(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Tell the first fold of each description of the others."""
    families: dict[tuple[Any, ...], list[Dataset]] = {}
    for dataset in datasets:
        run = dataset.runs[0]
        if run.fold is not None:
            # Not by name and hash of the data, which each fold has of its own.
            key = (run.facts["data"], run.facts["folds"], tuple(run.class_names))
            families.setdefault(key, []).append(dataset)
    others: dict[str, Sequence[Dataset]] = {}
    for family in families.values():
        folds = [dataset.runs[0].fold for dataset in family]
        # Two data sets of one fold are of different files under one name.
        if len(family) > 1 and len(set(folds)) == len(folds):
            first, *rest = sorted(family, key=lambda dataset: dataset.runs[0].fold or 0)
            others[first.name] = rest
    return [replace(dataset, other_folds=others.get(dataset.name, ())) for dataset in datasets]


def few_slices_curves(dataset: Dataset) -> dict[str, SliceCurve]:
    """Find the configurations that differ in `data.annotated` alone.

    Returns:
        Name without that key -> curve of two or more numbers of slices.
    """
    curves: dict[str, tuple[str, SliceCurve]] = {}
    for label, runs in dataset.configurations.items():
        science = dataset.science(runs[0])
        facts = dataset.volumes(runs[0])
        if science is None or facts is None:
            continue
        count = sum(len(slices) for slices in facts.trained_slices)
        name = re.sub(r"-annotated_\d+", "", label)
        curves.setdefault(_key(science), (name, {}))[1].setdefault(count, []).extend(runs)
    return {name: dict(sorted(curve.items())) for name, curve in curves.values() if len(curve) > 1}


def _key(science: dict[str, Any]) -> str:
    """What two configurations share that differ in `data.annotated` alone."""
    data = {key: value for key, value in science["data"].items() if key != "annotated"}
    return json.dumps(science | {"data": data}, sort_keys=True)
