"""Everything that is printed and written of a data set: its tables in order, and its sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fibseg.comparison.answer import answer_table, answers
from fibseg.comparison.contrast_tables import (
    contrast_sentences,
    contrast_table,
    detail_table,
)
from fibseg.comparison.dataset import Dataset, few_slices_curves
from fibseg.comparison.detection_tables import (
    expert_components_table,
    instance_table,
    object_table,
    strata_table,
    table_2,
)
from fibseg.comparison.labels import LabelMeasures
from fibseg.comparison.levels.folds import fold_sentences, fold_tables
from fibseg.comparison.levels.volumes import volume_table
from fibseg.comparison.manuscript import manuscript, manuscript_tables
from fibseg.comparison.rows import tidy_csv
from fibseg.comparison.score_tables import (
    cost_table,
    expert_table,
    run_table,
    score_table,
    table_1,
)
from fibseg.comparison.text import Table, escape_markdown
from fibseg.comparison.thin_table import thin_table
from fibseg.errors import FibsegError
from fibseg.files import write_whole
from fibseg.scores.components import PAPER_BINS, Bins
from fibseg.scores.learning_curve import extrapolate

# Only files of these names are removed: the folder may hold notes of its owner.
_TABLE_NAMES = (
    "answer",
    "table1",
    "table2",
    "instances",
    "strata",
    "objects",
    "thin",
    "expert",
    "expert2",
    "contrasts",
    "details",
    "volumes",
    "folds",
    "ranks",
    "improvement",
    "scores",
    "costs",
    "runs",
    "tidy",
    "manuscript",
)
"""How the file names of the tables begin."""


@dataclass(frozen=True)
class ComparisonOptions:
    """What a comparison computes beside scores, components and contrasts.

    Attributes:
        bins: how components are sorted by their shares, and which are too small to count.
        strata: areas in pixels at which a new stratum of components begins; empty for no strata.
        thin_classes: names of the classes whose boundary F1 and clDice are computed.
        tolerance: how near boundaries must be to count as equal, in nm; 2 pixels for None.
        objects: whether 3-D objects are counted.
        paper_style: population deviation and digits that are cut off, as in the paper.
    """

    bins: Bins = PAPER_BINS
    strata: tuple[int, ...] = ()
    thin_classes: tuple[str, ...] = ()
    tolerance: float | None = None
    objects: bool = False
    paper_style: bool = False


@dataclass(frozen=True)
class Report:
    """What is printed and written of one data set.

    Attributes:
        dataset: its runs.
        answer: configurations by classes, with ranks.
        answers: a sentence for each question, on these slices and over all folds, and for each
            curve over the number of annotated slices.
        tables: the other tables that are printed, in order.
        written_only: tables for whom the printed ones are not enough.
        sentences: one for each contrast of two configurations, which are written only.
        manuscript: methods, captions and checklist for a paper, as Markdown.
        manuscript_tables: tables for a journal, as LaTeX.
    """

    dataset: Dataset
    answer: Table
    answers: list[str]
    tables: list[Table]
    written_only: list[Table]
    sentences: list[str]
    manuscript: str
    manuscript_tables: str

    @property
    def written_tables(self) -> list[Table]:
        """The tables that are written to files, in order."""
        return [self.answer, *self.tables, *self.written_only]


def report_on(dataset: Dataset, options: ComparisonOptions) -> Report:
    """Compute every table and sentence of one data set.

    Raises:
        FibsegError: a file that an option needs is missing or damaged.
    """
    answer = answer_table(dataset)
    components = table_2(dataset, options.bins)
    tables = [
        # The order of docs/COMPARING.md: scores, components, what was asked for, contrasts.
        table_1(dataset, options.paper_style),
        score_table(dataset),
        cost_table(dataset),
        components,
        instance_table(dataset, options.paper_style),
        strata_table(dataset, options.strata, options.bins) if options.strata else None,
        *_label_tables(dataset, options),
        expert_table(dataset, options.paper_style),
        expert_components_table(dataset, options.bins),
        contrast_table(dataset) if dataset.contrasts else None,
        volume_table(dataset),
        *fold_tables(dataset),
    ]
    return Report(
        dataset=dataset,
        answer=answer,
        answers=[*answers(dataset), *fold_sentences(dataset), *_outlook_sentences(dataset)],
        tables=[table for table in tables if table is not None],
        written_only=[
            *([detail_table(dataset)] if dataset.contrasts else []),
            run_table(dataset),
        ],
        sentences=contrast_sentences(dataset),
        manuscript=manuscript(dataset, answer, components),
        manuscript_tables=manuscript_tables(dataset, answer, components),
    )


def _outlook_sentences(dataset: Dataset) -> list[str]:
    """What twice as many annotated slices would bring, for curves that can be fitted."""
    sentences = []
    for label, curve in few_slices_curves(dataset).items():
        for name in dataset.foreground:
            scores = {count: [run.f1("test")[name] for run in of] for count, of in curve.items()}
            expected = extrapolate(scores)
            if expected is not None:
                sentences.append(f"{label}, {name}: {expected.text}.")
    return sentences


def _label_tables(dataset: Dataset, options: ComparisonOptions) -> list[Table]:
    """The tables that need label files, in one pass over them: a pass takes a second per run."""
    thin_classes = tuple(name for name in dataset.foreground if name in options.thin_classes)
    if not thin_classes and not options.objects:
        return []
    # Of the classes that this data set has: another one may have other classes.
    measures = LabelMeasures(
        thin_classes=thin_classes,
        tolerance=options.tolerance,
        object_bins=options.bins if options.objects else None,
    )
    scores = dataset.label_scores(measures)
    tables = []
    if options.objects:
        tables.append(object_table(dataset, scores, options.bins))
    if thin_classes:
        tables.append(thin_table(dataset, scores, measures, options.paper_style))
    return tables


def check_thin_classes(datasets: Sequence[Dataset], thin_classes: Sequence[str]) -> None:
    """Check that every thin class is a foreground class of some data set.

    Raises:
        FibsegError: it is a class of none; the message lists the classes.
    """
    # A dictionary for its keys: a set that keeps the order, for the message.
    known = dict.fromkeys(name for dataset in datasets for name in dataset.foreground)
    unknown = [name for name in thin_classes if name not in known]
    if unknown:
        raise FibsegError(f"--thin: {', '.join(unknown)}; the classes are {', '.join(known)}.")


def write_tables(
    folder: Path, reports: Sequence[Report], left_out: Sequence[tuple[Path, str]]
) -> None:
    """Write each table as CSV and LaTeX, and all of them with their sentences as comparison.md.

    The scores of every slice go to a CSV file of their own, in long form.

    Args:
        folder: where the files go; tables of an earlier comparison are removed from it.
        reports: one for each data set.
        left_out: run directories that could not be read, with the reason.
    """
    # comparison.md is the sign of an earlier comparison: without it the files are someone's own.
    if (folder / "comparison.md").exists():
        _remove_tables(folder)
    parts: list[str] = []
    for report in reports:
        # A name of a table ends in its data set, so that those of two data sets lie side by side.
        for table in report.written_tables:
            write_whole(folder / f"{table.name}.csv", table.csv())
            write_whole(folder / f"{table.name}.tex", table.latex())
            parts.append(table.markdown())
        tidy = tidy_csv(report.dataset.configurations)
        write_whole(folder / f"tidy-{report.dataset.name}.csv", tidy)
        name = f"manuscript-{report.dataset.name}"
        write_whole(folder / f"{name}.md", report.manuscript)
        write_whole(folder / f"{name}.tex", report.manuscript_tables)
        sentences = [*report.answers, *report.sentences]
        parts += [f"{escape_markdown(sentence)}\n" for sentence in sentences]
    parts.append(
        "".join(
            f"- left out: {escape_markdown(f'{path}: {reason}')}\n" for path, reason in left_out
        )
    )
    write_whole(folder / "comparison.md", "\n".join(parts))


def _remove_tables(folder: Path) -> None:
    for name in _TABLE_NAMES:
        for ending in ("csv", "tex", "md"):
            for path in folder.glob(f"{name}-*.{ending}"):
                path.unlink()
