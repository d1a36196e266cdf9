"""The files for a paper: `manuscript-<data>.md` and `manuscript-<data>.tex`."""

from __future__ import annotations

import re

from fibseg.comparison.contrast_tables import SCOPE
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.manuscript.checklist import checklist
from fibseg.comparison.manuscript.methods import methods
from fibseg.comparison.text import Table, escape_markdown

_RANK = re.compile(r" #(\d+)(\*?)$")
"""At the end of a cell of the answer: rank, and the mark of what is below the best."""

_ANSWER_NAMES = ("minutes", "parameters")
"""Columns of the answer that a table of scores leaves out."""


def manuscript(dataset: Dataset, answer: Table, components: Table) -> str:
    """Methods, captions and checklist as Markdown.

    Args:
        dataset: the runs.
        answer: the answer table, of which the first caption speaks.
        components: Table 2, of which the second one speaks.
    """
    name = escape_markdown(dataset.name)
    lines = [f"# {name}: for a paper", "", "## Methods", ""]
    lines += [" ".join(map(escape_markdown, methods(dataset))), "", "## Captions", ""]
    captions = (_scores_caption(dataset, answer), _components_caption(dataset, components))
    lines += [f"- {escape_markdown(caption)}" for caption in (*captions, _figure_caption(dataset))]
    lines += ["", "## Checklist", "", "| question | answer |", "|---|---|"]
    lines += [
        f"| {item.question} | {escape_markdown(item.answer) or '**open**'} |"
        for item in checklist(dataset)
    ]
    return "\n".join(lines) + "\n"


def manuscript_tables(dataset: Dataset, answer: Table, components: Table) -> str:
    """Scores and components as LaTeX with the rules of booktabs, and captions that stand alone."""
    kept = [k for k, name in enumerate(answer.columns) if name not in _ANSWER_NAMES]
    scores = Table(
        name=answer.name,
        title=_scores_caption(dataset, answer),
        columns=[answer.columns[k] for k in kept],
        rows=[[row[k] for k in kept] for row in answer.rows],
    )
    counts = Table(
        name=components.name,
        title=_components_caption(dataset, components),
        columns=components.columns,
        rows=components.rows,
    )
    return (
        f"% \\usepackage{{booktabs,graphicx}}\n{scores.booktabs(_with_marks)}\n{counts.booktabs()}"
    )


def _with_marks(cell: str, in_latex: str) -> str:
    """A score of the answer without its rank: bold where it is the best, else with its star."""
    rank = _RANK.search(cell)
    if rank is None:
        return in_latex
    text = in_latex[: in_latex.rindex(r" \#")]
    return f"\\textbf{{{text}}}" if rank[1] == "1" else text + (r"$^{*}$" if rank[2] else "")


def _scores_caption(dataset: Dataset, answer: Table) -> str:
    marked = any(cell.endswith("*") for row in answer.rows for cell in row)
    star = (
        "; a star marks a score below the best of its class by more than chance over seeds "
        "(joint sign flips)"
        if marked
        else ""
    )
    return (
        f"Test F1 on {dataset.name}, mean (95 % interval over seeds) of the runs of each "
        f"configuration, on {_slices(dataset)}. The best mean of a class is bold{star}. {SCOPE}"
    )


def _components_caption(dataset: Dataset, components: Table) -> str:
    return (
        f"Components of {_slices(dataset)} of {dataset.name}. {_sentence(components.notes[0])} TP, "
        "FN and UD are detected, missed and undecided components of the truth, of the run of each "
        "configuration that is best by validation; in brackets the range over its runs."
    )


def _figure_caption(dataset: Dataset) -> str:
    counts = sorted({len(runs) for runs in dataset.configurations.values()})
    runs = " or ".join(map(str, counts))
    return (
        f"Test F1 of every run on {dataset.name} (a dot for each of {runs} seeds), with mean and "
        f"Student's 95 % interval over seeds, on {_slices(dataset)}. {SCOPE}"
    )


def _slices(dataset: Dataset) -> str:
    volumes = len({place.volume for place in dataset.places})
    of = f" of {volumes} volumes" if volumes > 1 else ""
    count = len(dataset.places)
    return f"{count} test slice{'s' if count > 1 else ''}{of}"


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."
