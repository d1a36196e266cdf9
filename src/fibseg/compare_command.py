"""`fibseg compare`: what runs have scored, by how much they differ, and whether that is more than luck."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from fibseg import wandb_run
from fibseg.compare_tables import contrast_table, expert_table, run_table, score_table, sentences, table_1, table_2
from fibseg.compared_components import detections
from fibseg.comparison import Collection, collect
from fibseg.contrasts import contrasts
from fibseg.dashboard import write_dashboard
from fibseg.errors import FibsegError
from fibseg.runs import write_whole
from fibseg.tables import Table


def compare(options: argparse.Namespace) -> None:
    """Print the tables, and write them as CSV, Markdown and LaTeX."""
    console = Console()
    if not console.is_terminal:
        console.width = 140  # of the tables in a file
    if not 0 <= options.low < options.high <= 1:
        raise FibsegError(f"--low {options.low}, --high {options.high}: expected 0 <= low < high <= 1.")
    if options.smallest < 1:
        raise FibsegError(f"--smallest: {options.smallest}; expected 1 pixel or more.")
    found = with_components(collect(options.runs))
    for path, why in found.left_out:
        console.print(f"left out: {path}: {why}", markup=False, highlight=False, soft_wrap=True)
    if not found.runs:
        raise FibsegError("no finished run among these folders.")
    pairs = [(first, second) for first, second in options.pair]
    text, output = list[str](), Path(options.output)
    shown, told = list[list[Table]](), list[list[str]]()
    for runs in found.data_sets():
        names = {run.configuration for run in runs}
        ours = [pair for pair in pairs if set(pair) <= names] if len(found.data_sets()) > 1 else pairs
        differences = contrasts(runs, ours)
        tables = [table_1(runs, options.paper_style), table_2(runs, options.high, options.low, options.smallest)]
        expert = expert_table(runs, options.paper_style)
        tables += [expert] if expert else []
        tables += [contrast_table(runs, differences)] if differences else []
        for table in tables:
            console.print(table.rich())
        said = sentences(runs, differences)
        for one in said:
            console.print(one, markup=False, highlight=False, soft_wrap=True)
        every = [*tables, score_table(runs), run_table(runs)]
        for table in every:
            write(output, table)
        shown.append(every)
        told.append(said)
        text += [*(table.markdown() for table in every), *(f"{one}\n" for one in said)]
    left = "".join(f"- left out: {path}: {why}\n" for path, why in found.left_out)
    write_whole(output / "comparison.md", "\n".join([*text, left]))
    write_dashboard(output / "index.html", found, shown, told)
    if options.wandb:
        log(options.wandb, output, shown, lambda text: console.print(text, markup=False, highlight=False))
    console.print(f"{output}: index.html, comparison.md, each table as CSV and LaTeX", highlight=False, markup=False)


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


def write(folder: Path, table: Table) -> None:
    """As CSV and LaTeX."""
    write_whole(folder / f"{table.name}.csv", table.csv())
    write_whole(folder / f"{table.name}.tex", table.latex())
