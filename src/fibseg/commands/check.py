"""`fibseg check`: what a data description holds, what is wrong with it, and pictures of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Column, Table

from fibseg.config.compose import load_description
from fibseg.data.description import SPLITS, DataDescription
from fibseg.data.inspection import SliceFacts
from fibseg.data.inspection.survey import Survey, survey
from fibseg.data.labels.pairing import slice_list
from fibseg.data.volume import read_places
from fibseg.errors import FibsegError
from fibseg.machine import print_line, table_console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("data", help="a data description: a name in conf/data, or a YAML file")
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="folder of the files, instead of the root that the description names",
    )
    parser.add_argument(
        "--page", metavar="FILE", help="HTML page to write (default: check-NAME.html)"
    )


def run(options: argparse.Namespace) -> None:
    """Print a table and the findings, and write the page.

    Raises:
        FibsegError: the data description has errors; they are printed before.
    """
    # Pages import matplotlib, which `fibseg check --help` can do without.
    from fibseg.pages.check import write_check_page

    console = table_console()
    description = load_description(options.data)
    if options.root is not None:
        # Paths in a description are relative to its root.
        description.root = options.root
    page = Path(options.page or f"check-{description.name}.html")
    # Every finding is collected before any is printed: a user mends all of them at once.
    data_survey = _survey_with_progress(description, console)
    if data_survey.slices:
        console.print(_split_table(description, data_survey))
    for finding in data_survey.findings:
        print_line(console, f"{finding.level}: {finding.text}")
    # Also with errors: the pictures may show what is wrong.
    write_check_page(
        path=page,
        title=f"Data {description.name}",
        survey=data_survey,
        annotated_slices=read_places(description, data_survey.places_to_show),
    )
    print_line(console, f"{page}: is this what you painted?")
    errors = len(data_survey.errors)
    if errors:
        # At the end, so that the exit code tells a script, and the page is there.
        raise FibsegError(
            f"{errors} error{'s' * (errors > 1)} in the data description {options.data}, see above."
        )


def _survey_with_progress(description: DataDescription, console: Console) -> Survey:
    """Survey the data; on a terminal there is a progress bar for each volume meanwhile."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[int, TaskID] = {}

        def report(volume: int, done: int, total: int) -> None:
            if volume not in tasks:
                tasks[volume] = progress.add_task(f"volume {volume}", total=total)
            progress.update(tasks[volume], completed=done)

        return survey(description, report)


def _split_table(description: DataDescription, data_survey: Survey) -> Table:
    """A row per volume and split."""
    names = [Column(name, overflow="fold") for name in data_survey.names]
    title = f"data {description.name}; shares of the annotated pixels"
    table = Table("vol.", "split", "slices", "annotated", *names, title=title)
    for index in range(len(description.volumes)):
        # The last row is for slices in no split, which may be annotated by oversight.
        for split in (*SPLITS, ""):
            slices = [
                facts
                for facts in data_survey.slices
                if facts.volume == index and facts.split == split
            ]
            # Unused slices without any annotation are of no interest.
            if slices and (split or any(facts.annotated for facts in slices)):
                shares = np.mean([facts.shares for facts in slices], axis=0)
                annotated = float(np.mean([facts.annotated for facts in slices]))
                table.add_row(
                    str(index),
                    split or "(none)",
                    _slice_range(slices),
                    f"{annotated:.0%}",
                    *(f"{share:.2%}" for share in shares),
                )
    return table


def _slice_range(slices: Sequence[SliceFacts]) -> str:
    """How many slices, and which: 40 (0 to 39)."""
    return f"{len(slices)} ({slice_list(sorted(facts.z for facts in slices))})"
