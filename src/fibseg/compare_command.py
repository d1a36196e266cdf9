"""`fibseg compare`: what runs have scored, by how much they differ, and whether that is more than luck."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from fibseg import wandb_run
from fibseg.compare_tables import (
    expert_table,
    object_table,
    run_table,
    score_table,
    strata_table,
    table_1,
    table_2,
    thin_table,
)
from fibseg.compared_components import detections
from fibseg.comparison import Collection, Run, collect
from fibseg.contrast_tables import contrast_table, sentences, volume_table
from fibseg.contrasts import Contrast, contrasts
from fibseg.dashboard import write_dashboard
from fibseg.errors import FibsegError
from fibseg.runs import write_whole
from fibseg.tables import Table


def compare(options: argparse.Namespace) -> None:
    """Print the tables, and write them as CSV, Markdown and LaTeX, with the page."""
    console = Console()
    if not console.is_terminal:
        console.width = 140  # of the tables in a file
    check(options)
    found = with_components(collect(options.runs))
    for path, why in found.left_out:
        console.print(f"left out: {path}: {why}", markup=False, highlight=False, soft_wrap=True)
    if not found.runs:
        raise FibsegError("no finished run among these folders.")
    output, shown, told = Path(options.output), list[list[Table]](), list[list[str]]()
    for runs in found.data_sets():
        names = {run.configuration for run in runs}
        pairs = [(first, second) for first, second in options.pair]
        ours = [pair for pair in pairs if set(pair) <= names] if len(found.data_sets()) > 1 else pairs
        differences = contrasts(runs, ours)
        tables = printed(runs, differences, options)
        for table in tables:
            console.print(table.rich())
        told.append(sentences(runs, differences))
        for one in told[-1]:
            console.print(one, markup=False, highlight=False, soft_wrap=True)
        shown.append([*tables, score_table(runs), run_table(runs)])
    write(output, found, shown, told)
    if options.wandb:
        log(options.wandb, output, shown, lambda text: console.print(text, markup=False, highlight=False))
    console.print(f"{output}: index.html, comparison.md, each table as CSV and LaTeX", highlight=False, markup=False)


def check(options: argparse.Namespace) -> None:
    """FibsegError for numbers that mean nothing."""
    if not 0 <= options.low < options.high <= 1:
        raise FibsegError(f"--low {options.low}, --high {options.high}: expected 0 <= low < high <= 1.")
    if min([options.smallest, *options.strata]) < 1:
        raise FibsegError(f"--smallest {options.smallest}, --strata {options.strata}: expected 1 pixel or more.")
    if options.tolerance is not None and not 0 <= options.tolerance < math.inf:
        raise FibsegError(f"--tolerance: {options.tolerance}; expected 0 nm or more.")
    if options.tolerance is not None and not options.thin:
        raise FibsegError("--tolerance: name the thin classes too, as in --thin membrane.")


def printed(runs: Sequence[Run], differences: Sequence[Contrast], options: argparse.Namespace) -> list[Table]:
    """The tables of one data set that go to the terminal, in order."""
    thin = [name for name in runs[0].names[1:] if name in options.thin]
    if set(options.thin) - set(runs[0].names[1:]):
        raise FibsegError(f"--thin: {', '.join(options.thin)}; the classes are {', '.join(runs[0].names[1:])}.")
    bins = options.high, options.low, options.smallest
    found = [
        table_1(runs, options.paper_style),
        table_2(runs, *bins),
        strata_table(runs, options.strata, *bins) if options.strata else None,
        object_table(runs, *bins) if options.objects else None,
        thin_table(runs, thin, options.tolerance, options.paper_style) if thin else None,
        expert_table(runs, options.paper_style),
        contrast_table(runs, differences) if differences else None,
        volume_table(runs, differences),
    ]
    return [one for one in found if one is not None]


def with_components(found: Collection) -> Collection:
    """Without the runs whose components.csv is missing or damaged; they are named with the others."""
    runs, left_out = [], list(found.left_out)
    for run in found.runs:
        try:
            detections(run, "test")
            runs.append(run)
        except FibsegError as error:
            left_out.append((run.path, str(error).removeprefix(f"{run.path}/")))
    return Collection(runs, left_out)


def log(project: str, output: Path, tables: Sequence[Sequence[Table]], say: Callable[[str], None]) -> None:
    """Every table, the charts' page and its numbers as one run of W&B."""
    import wandb

    run, _ = wandb_run.start(output, {"project": project, "job_type": "comparison", "name": output.name}, False, say)
    for table in (one for own in tables for one in own):
        run.log({table.name: wandb.Table(columns=list(table.columns), data=[list(row) for row in table.rows])})
    run.log({"page": wandb.Html((output / "index.html").read_text(encoding="utf-8"), inject=False)})
    run.finish()


def write(output: Path, found: Collection, tables: Sequence[Sequence[Table]], told: Sequence[Sequence[str]]) -> None:
    """Each table as CSV and LaTeX, all of them as Markdown, and the page."""
    text = list[str]()
    for own, said in zip(tables, told, strict=True):
        for table in own:
            write_whole(output / f"{table.name}.csv", table.csv())
            write_whole(output / f"{table.name}.tex", table.latex())
        text += [*(table.markdown() for table in own), *(f"{one}\n" for one in said)]
    left = "".join(f"- left out: {path}: {why}\n" for path, why in found.left_out)
    write_whole(output / "comparison.md", "\n".join([*text, left]))
    write_dashboard(output / "index.html", found, tables, told)
