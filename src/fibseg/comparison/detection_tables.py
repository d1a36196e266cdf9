"""Tables of components: Table 2 as in the paper, by size, as 3-D objects, of the second expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fibseg.comparison.dataset import Dataset
from fibseg.comparison.detections import DetectionCounts, detections, detections_by_area
from fibseg.comparison.labels import LabelScores, count_by_class
from fibseg.comparison.score_tables import mean_and_deviation
from fibseg.comparison.text import Table
from fibseg.runs.collection import best_runs
from fibseg.runs.finished import FinishedRun
from fibseg.scores.components import PAPER_BINS, Bins, find_components
from fibseg.scores.instances.figures import instance_figures
from fibseg.scores.instances.matching import MatchCounts, pooled_matches

_DETECTION_COLUMNS = ["TP", "FN", "UD", "right", "false", "partly", "merges", "splits"]

_INSTANCE_COLUMNS = [
    *("precision .5", "recall .5", "F1 .5", "PQ .5", "F1 .75", "PQ .75"),
    *("SA50", "mSA", "VOI split", "VOI merge"),
]

_DETECTION_NOTES = [
    "of the run best by validation; in brackets how many, and the range over runs",
    "right, false, partly: predicted ones, by the same shares",
]


def table_2(dataset: Dataset, bins: Bins = PAPER_BINS) -> Table:
    """Table 2 of Meyer et al., ISBI 2021: components of the test slices.

    Counts are of the run of each configuration that is best by validation, with the range over all
    of its runs.
    """
    rows: list[list[str]] = []
    for label, runs in dataset.configurations.items():
        rows += _class_rows(label, runs, [detections(run, "test", bins) for run in runs])
    return Table(
        name=f"table2-{dataset.name}",
        title=f"Table 2: {dataset.name}, components of the test slices",
        columns=["run", "class (components)", *_DETECTION_COLUMNS],
        rows=rows,
        notes=[
            f"2-D, 8-connected, of {area_text(bins.smallest)} or more; {_shares(bins)}",
            *_DETECTION_NOTES,
            *_speck_notes(bins),
        ],
    )


def area_text(pixels: int) -> str:
    """An area in words.

    >>> area_text(1), area_text(20)
    ('1 pixel', '20 pixels')
    """
    return "1 pixel" if pixels == 1 else f"{pixels} pixels"


def _speck_notes(bins: Bins) -> list[str]:
    if bins.smallest > 1:
        return []
    return ["every stray pixel is a false component here; --smallest 20 leaves out specks"]


def strata_table(dataset: Dataset, edges: Sequence[int], bins: Bins) -> Table:
    """Table 2 by the area of a component: true and predicted ones by their own area in pixels."""
    rows = []
    for label, runs in dataset.configurations.items():
        # The classes and strata of every run are those of the first: they follow from the same
        # options.
        counts = [detections_by_area(run, "test", edges, bins) for run in runs]
        for name, strata in counts[0].items():
            for stratum in strata:
                of_stratum = [count[name][stratum] for count in counts]
                cells, total = _detection_cells(runs, of_stratum)
                rows.append([_best_run(label, runs), name, f"{stratum} ({total})", *cells])
    return Table(
        name=f"strata-{dataset.name}",
        title=f"Components by size: {dataset.name}, test slices",
        columns=["run", "class", "area in pixels (components)", *_DETECTION_COLUMNS],
        rows=rows,
        notes=[f"2-D, 8-connected; {_shares(bins)}", *_DETECTION_NOTES],
    )


def object_table(dataset: Dataset, scores: Mapping[Path, LabelScores], bins: Bins) -> Table:
    """3-D objects over consecutive test slices, in the bins of Table 2.

    Args:
        dataset: runs of one data set.
        scores: path of each run -> what was computed from its labels, objects among it.
        bins: how the objects were sorted.
    """
    rows: list[list[str]] = []
    for label, runs in dataset.configurations.items():
        rows += _class_rows(label, runs, [scores[run.path].objects for run in runs])
    return Table(
        name=f"objects-{dataset.name}",
        title=f"3-D objects: {dataset.name}, over consecutive test slices",
        columns=["run", "class (objects)", *_DETECTION_COLUMNS],
        rows=rows,
        notes=[
            f"26-connected, of {bins.smallest} voxels or more; {_shares(bins)}",
            *_DETECTION_NOTES,
            "an object that leaves the test slices is cut there",
        ],
    )


def instance_table(dataset: Dataset, paper_style: bool = False) -> Table | None:
    """Scores of the objects of the test slices, from scores.json; None where there are none.

    Each run's counts are pooled over its slices (2-D) or stacks of slices (3-D); the cells are mean
    and deviation over runs, as in `mean_and_deviation`.
    """
    rows = []
    for label, runs in dataset.configurations.items():
        # Runs of one data set that were scored before its objects were given have none.
        scored = [run.objects["test"] for run in runs if "test" in run.objects]
        for name in dataset.foreground:
            for space, groups in (
                ("2-D", [matches["slices"] for matches in scored]),
                ("3-D", [matches["blocks"] for matches in scored]),
            ):
                counts = [
                    pooled_matches(entry["classes"][name] for entry in of_run)
                    for of_run in groups
                    if all(name in entry["classes"] for entry in of_run) and of_run
                ]
                if counts:
                    total = f"{name} ({counts[0]['truth']})"
                    rows.append([label, total, space, *_instance_cells(counts, paper_style)])
    if not rows:
        return None
    return Table(
        name=f"instances-{dataset.name}",
        title=f"Objects: {dataset.name}, test slices",
        columns=["run", "class (objects)", "", *_INSTANCE_COLUMNS],
        rows=rows,
        notes=[
            "matched at an intersection over union (IoU) of .5 or .75; PQ: panoptic quality; "
            "SA50: TP / (TP + FP + FN) at .5; mSA: its mean over .5 to .95",
            "VOI: variation of information in bits, over the pixels of true objects",
            "3-D: over consecutive test slices; an object that leaves them is cut there",
        ],
    )


def _instance_cells(counts: Sequence[MatchCounts], paper_style: bool) -> list[str]:
    """Cells of _INSTANCE_COLUMNS from the counts of each run."""
    figures = [instance_figures(of_run) for of_run in counts]
    columns = [
        [run.at_50.precision for run in figures],
        [run.at_50.recall for run in figures],
        [run.at_50.f1 for run in figures],
        [run.at_50.quality for run in figures],
        [run.at_75.f1 for run in figures],
        [run.at_75.quality for run in figures],
        [run.at_50.accuracy for run in figures],
        [run.msa for run in figures],
        [run.voi_split for run in figures],
        [run.voi_merge for run in figures],
    ]
    return [mean_and_deviation(column, paper_style) for column in columns]


def expert_components_table(dataset: Dataset, bins: Bins) -> Table | None:
    """Table 2 on the slices of the second expert, with that expert as a row; None without one."""
    expert = dataset.second_expert
    if expert is None:
        return None
    names = dataset.class_names
    components = [
        component
        for truth, labels in expert.label_pairs
        for component in find_components(truth, labels, len(names))
    ]
    rows = []
    for name, counts in count_by_class(components, names, bins).items():
        # One set of labels, so that the range has one value; any run stands in for its maker.
        cells, total = _detection_cells(dataset.runs[:1], [counts])
        rows.append(["second expert", f"{name} ({total})", *cells])
    for label, runs in dataset.configurations.items():
        # On the same slices only, or the expert and the runs would be judged by different
        # components.
        of_runs = [detections(run, "test", bins, expert.places) for run in runs]
        rows += _class_rows(label, runs, of_runs)
    count = len(expert.places)
    return Table(
        name=f"expert2-{dataset.name}",
        title=f"Components on the {count} slices of the second expert: {dataset.name}",
        columns=["", "class (components)", *_DETECTION_COLUMNS],
        rows=rows,
        notes=[
            f"2-D, 8-connected, of {bins.smallest} pixels or more; {_shares(bins)}",
            *_DETECTION_NOTES,
        ],
    )


def _class_rows(
    label: str, runs: Sequence[FinishedRun], counts: Sequence[Mapping[str, DetectionCounts]]
) -> list[list[str]]:
    """A row for each class from the counts of each run of one configuration."""
    rows = []
    # Class by class, since the range over runs is taken within a class.
    for name in runs[0].class_names[1:]:
        cells, total = _detection_cells(runs, [of_run[name] for of_run in counts])
        rows.append([_best_run(label, runs), f"{name} ({total})", *cells])
    return rows


def _best_run(label: str, runs: Sequence[FinishedRun]) -> str:
    return f"{label}, seed {best_runs(runs)[0].seed}"


def _detection_cells(
    runs: Sequence[FinishedRun], counts: Sequence[DetectionCounts]
) -> tuple[list[str], int]:
    """Cells of _DETECTION_COLUMNS, and how many components the truth has.

    They are of the run best by validation, with the range over the runs.
    """
    # The paper shows one run; the range tells how much it depends on the seed.
    best = counts[list(runs).index(best_runs(runs)[0])]
    total = best["tp"] + best["fn"] + best["ud"]
    cells = []
    for kind in ("tp", "fn", "ud"):
        of_runs = [of_run[kind] for of_run in counts]
        # A class without a true component has counts, but no shares.
        share = f"{best[kind] / total:.1%}" if total else "-"
        cells.append(f"{share} ({best[kind]}; {min(of_runs)} to {max(of_runs)})")
    predicted = [str(best[kind]) for kind in ("right", "fp", "partly", "merges", "splits")]
    return [*cells, *predicted], total


def _shares(bins: Bins) -> str:
    return f"TP: over {bins.high:.0%} detected, FN: below {bins.low:.0%}, UD: between"
