"""The end of the methods paragraph: how runs were compared, and on which computers they ran."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fibseg.comparison.contrast_tables import SCOPE
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.inference import SEEDS_FOR_TEST


def evaluation(dataset: Dataset) -> list[str]:
    """Sentences on seeds, scores, intervals and tests."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for label, runs in dataset.configurations.items():
        if label not in dataset.adopted:
            groups.setdefault(tuple(sorted(run.seed for run in runs)), []).append(label)
    trained = ""
    if len(groups) == 1:
        subject = "Each of them" if dataset.adopted else "Each configuration"
        trained = f"{subject} was trained with {_seeds(next(iter(groups)))}."
    elif groups:
        each = "; ".join(f"{listed(of)} with {_seeds(seeds)}" for seeds, of in groups.items())
        trained = f"Configurations were trained with several seeds: {each}."
    left_out = len(dataset.left_out)
    further = "1 further run" if left_out == 1 else f"{left_out} further runs"
    lacking = f"{further} had no scores and took no part." if left_out else ""
    of_runs = " ".join(filter(None, [trained, lacking]))
    scores = (
        "F1 was computed from the pixels of each test slice and averaged over the slices whose "
        "truth holds the class; pixels without annotation do not count. Intervals are Student's "
        f"95 % intervals over seeds. {_test(dataset)}{SCOPE}"
    )
    return [*filter(None, [of_runs]), scores]


def _test(dataset: Dataset) -> str:
    """How differences were tested; empty without a contrast."""
    sentences = []
    paired = [contrast for contrast in dataset.contrasts if contrast.paired]
    if paired and all(math.isnan(contrast.joint_p) for contrast in paired):
        sentences.append(
            f"Differences were paired by seed; with fewer than {SEEDS_FOR_TEST} seeds none was "
            "tested. "
        )
    elif paired:
        sentences.append(
            "Differences were paired by seed and tested by joint sign flips with the largest |t| "
            "of a question's contrasts (Westfall and Young, step-down), for which intervals hold "
            "jointly. "
        )
    if len(paired) < len(dataset.contrasts):
        sentences.append(
            f"Differences from {listed(dataset.adopted)} were not paired: they are those of the "
            "means of all runs, with Welch's 95 % intervals, and none of them was tested. "
        )
    return "".join(sentences)


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    is_range = list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{len(seeds)} seeds ({f'{seeds[0]} to {seeds[-1]}' if is_range else listed(seeds)})"


def computers(dataset: Dataset) -> list[str]:
    """Device, time and versions, as far as the runs say them."""
    facts = [run.facts for run in dataset.runs if not run.adopted]
    devices = [
        f"{fact.get('device_name') or fact['device']} ({fact['precision']})"
        for fact in facts
        if fact.get("device") and fact.get("precision")
    ]
    seconds = [fact["seconds"] for fact in facts if "seconds" in fact]
    versions: dict[str, set[str]] = {}
    for fact in facts:
        for name, version in (fact.get("versions") or {}).items():
            versions.setdefault(name, set()).add(str(version))
    sentences = []
    if devices:
        sentences.append(f"Runs were trained on {listed(sorted(set(devices)))}.")
    if seconds:
        minutes = [value / 60 for value in seconds]
        sentences.append(
            f"Training and scoring a run took {min(minutes):.1f} to {max(minutes):.1f} minutes."
        )
    if versions:
        texts = [f"{name} {' or '.join(sorted(of))}" for name, of in sorted(versions.items())]
        sentences.append(f"Versions: {', '.join(texts)}.")
    return sentences


def listed(items: Sequence[Any]) -> str:
    """Items as a sentence lists them.

    >>> listed([1, 2, 3]), listed(["a"]), listed([650.0, 3200])
    ('1, 2 and 3', 'a', '650 and 3200')
    """
    texts = [
        f"{item:g}" if isinstance(item, float) and math.isfinite(item) else str(item)
        for item in items
    ]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
