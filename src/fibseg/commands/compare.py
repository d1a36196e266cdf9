"""`fibseg compare`: what runs have scored, by how much they differ, and whether that is more than luck."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from fibseg.comparison.contrast_tables import contrast_sentences, contrast_table, volume_table
from fibseg.comparison.contrasts import Contrast, contrasts, without
from fibseg.comparison.tables import (
    expert_components,
    expert_table,
    object_table,
    run_table,
    score_table,
    strata_table,
    table_1,
    table_2,
    thin_table,
)
from fibseg.comparison.text import Table, escaped
from fibseg.errors import FibsegError
from fibseg.files import write_whole
from fibseg.pages.comparison import charts_of, write_dashboard
from fibseg.runs.collection import Collection, FinishedRun, collect, configurations
from fibseg.scores.components import Bins
from fibseg.training import wandb_run


def compare(options: argparse.Namespace) -> None:
    """Print the tables, and write them as CSV, Markdown and LaTeX, with the page."""
    console = Console()
    if not console.is_terminal:
        console.width = 140  # of the tables in a file
    check_options(options)
    found = collect(options.runs)
    for path, why in found.left_out:
        console.print(f"left out: {path}: {why}", markup=False, highlight=False, soft_wrap=True)
    if not found.runs:
        raise FibsegError("no finished run among these folders.")
    check_names(options, found)
    output, shown, told = Path(options.output), list[list[Table]](), list[list[str]]()
    for runs in found.data_sets():
        labels = configurations(runs)
        pairs = [
            (first, second)
            for first, second in options.pair
            if first in labels and second in labels
        ]
        differences = contrasts(runs, pairs)
        shown.append(tables_of(runs, differences, pairs, found.left_beside(runs), options))
        for table in shown[-1]:
            console.print(table.rich())
        told.append(contrast_sentences(runs, differences))
        for one in told[-1]:
            console.print(one, markup=False, highlight=False, soft_wrap=True)
        shown[-1].append(run_table(runs))
    write_comparison(output, found, shown, told)
    if options.wandb:
        log(
            options.wandb,
            output,
            found,
            shown,
            lambda text: console.print(text, markup=False, highlight=False),
        )
    console.print(
        f"{output}: index.html, comparison.md, each table as CSV and LaTeX",
        highlight=False,
        markup=False,
    )


def check_names(options: argparse.Namespace, found: Collection) -> None:
    """FibsegError for a class or a pair that no data set has."""
    sets = found.data_sets()
    classes = dict.fromkeys(name for runs in sets for name in runs[0].names[1:])
    if set(options.thin) - set(classes):
        raise FibsegError(
            f"--thin: {', '.join(options.thin)}; the classes are {', '.join(classes)}."
        )
    labels = [configurations(runs) for runs in sets]
    for first, second in options.pair:
        if not any(first in own and second in own for own in labels):
            every = ", ".join(dict.fromkeys(label for own in labels for label in own))
            raise FibsegError(
                f"--pair {first} {second}: no data set has both; the configurations are {every}."
            )


def check_options(options: argparse.Namespace) -> None:
    """FibsegError for numbers that mean nothing."""
    if not 0 <= options.low < options.high <= 1:
        raise FibsegError(
            f"--low {options.low}, --high {options.high}: expected 0 <= low < high <= 1."
        )
    if min([options.smallest, *options.strata]) < 1:
        raise FibsegError(
            f"--smallest {options.smallest}, --strata {options.strata}: expected 1 pixel or more."
        )
    if options.tolerance is not None and not 0 <= options.tolerance < math.inf:
        raise FibsegError(f"--tolerance: {options.tolerance}; expected 0 nm or more.")
    if options.tolerance is not None and not options.thin:
        raise FibsegError("--tolerance: name the thin classes too, as in --thin membrane.")


def tables_of(
    runs: Sequence[FinishedRun],
    differences: Sequence[Contrast],
    pairs: Sequence[tuple[str, str]],
    left_out: Sequence[str],
    options: argparse.Namespace,
) -> list[Table]:
    """The tables of one data set that go to the terminal, in order."""
    thin = [name for name in runs[0].names[1:] if name in options.thin]
    bins = Bins(options.high, options.low, options.smallest)
    found = [
        table_1(runs, options.paper_style, left_out),
        score_table(runs),
        table_2(runs, bins),
        strata_table(runs, options.strata, bins) if options.strata else None,
        object_table(runs, bins) if options.objects else None,
        thin_table(runs, thin, options.tolerance, options.paper_style) if thin else None,
        expert_table(runs, options.paper_style),
        expert_components(runs, bins),
        contrast_table(runs, differences, without(runs, pairs)) if differences else None,
        volume_table(runs, differences),
    ]
    return [one for one in found if one is not None]


def log(
    project: str,
    output: Path,
    found: Collection,
    tables: Sequence[Sequence[Table]],
    say: Callable[[str], None],
) -> None:
    """Every table, every chart and the page as one run of W&B."""
    import wandb

    run, _ = wandb_run.start(
        output, {"project": project, "job_type": "comparison", "name": output.name}, False, say
    )
    for table in (one for own in tables for one in own):
        run.log(
            {
                table.name: wandb.Table(
                    columns=list(table.columns), data=[list(row) for row in table.rows]
                )
            }
        )
    for runs in found.data_sets():
        pictures = {title: picture for title, picture in charts_of(runs) if picture}
        run.log(
            {
                f"{runs[0].data}/{title}": wandb.Html(picture, inject=False)
                for title, picture in pictures.items()
            }
        )
    run.log({"page": wandb.Html((output / "index.html").read_text(encoding="utf-8"), inject=False)})
    run.finish()


TABLES = (
    "table1",
    "table2",
    "strata",
    "objects",
    "thin",
    "expert",
    "expert2",
    "contrasts",
    "volumes",
    "scores",
    "runs",
)


def write_comparison(
    output: Path,
    found: Collection,
    tables: Sequence[Sequence[Table]],
    told: Sequence[Sequence[str]],
) -> None:
    """Each table as CSV and LaTeX, all of them as Markdown, and the page; those of an earlier comparison go."""
    if (output / "comparison.md").exists():
        for path in (
            one
            for name in TABLES
            for ending in ("csv", "tex")
            for one in output.glob(f"{name}-*.{ending}")
        ):
            path.unlink()
    text = list[str]()
    for own, said in zip(tables, told, strict=True):
        for table in own:
            write_whole(output / f"{table.name}.csv", table.csv())
            write_whole(output / f"{table.name}.tex", table.latex())
        text += [*(table.markdown() for table in own), *(f"{escaped(one)}\n" for one in said)]
    left = "".join(f"- left out: {escaped(f'{path}: {why}')}\n" for path, why in found.left_out)
    write_whole(output / "comparison.md", "\n".join([*text, left]))
    write_dashboard(output / "index.html", found, tables, told)
