"""The files of `fibseg measure`, and its printed table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fibseg.errors import FibsegError
from fibseg.files import clear_leftovers, replacing_together, writing
from fibseg.machine import print_line
from fibseg.scores.bodies.numbered import NumberedObjects
from fibseg.scores.bodies.table import ObjectTable
from fibseg.scores.measures import ClassMeasures, Units
from fibseg.stack import StackHeader, StackWriter, check_output


@dataclass(frozen=True)
class MeasureOutputs:
    """Paths of what is written; None for what is not asked for."""

    table: Path
    parquet: Path | None
    page: Path | None
    instances: Path | None

    @property
    def files(self) -> list[Path]:
        """Those that are written together."""
        return [path for path in (self.table, self.parquet, self.instances) if path is not None]


def chosen_outputs(labels: Path, options: argparse.Namespace) -> MeasureOutputs:
    """Find the paths that the options of the command ask for."""
    table = Path(options.output or f"{labels.stem}-objects.csv")
    return MeasureOutputs(
        table=table,
        parquet=table.with_suffix(".parquet") if options.parquet else None,
        page=None if options.page is None else Path(options.page),
        instances=None if options.instances is None else Path(options.instances),
    )


def check_outputs(outputs: MeasureOutputs, overwrite: bool, inputs: Sequence[str]) -> None:
    """Check that all files can be written; what a killed process left of them is removed.

    Raises:
        FibsegError: a file is given twice, exists, or would replace one of the `inputs`.
    """
    paths = [*outputs.files, *([] if outputs.page is None else [outputs.page])]
    for path in paths:
        for source in inputs:
            place = Path(source).resolve()
            if place in (path.resolve(), *path.resolve().parents):
                raise FibsegError(f"{path}: is {source}, which is read, or lies in it.")
        if paths.count(path) > 1:
            raise FibsegError(f"{path}: is given twice; give each file another name.")
    clear_leftovers(paths)
    for path in paths:
        if path == outputs.instances:
            check_output(path, overwrite, "--overwrite")
        elif path.exists() and not overwrite:
            option = "--page" if path == outputs.page else "--output"
            raise FibsegError(f"{path}: exists already; give another {option}, or --overwrite.")


def write_outputs(
    outputs: MeasureOutputs, table: ObjectTable, header: StackHeader, objects: NumberedObjects
) -> None:
    """Write the tables and the stack: all of them appear, or none does."""
    with replacing_together(outputs.files) as partials:
        place = dict(zip(outputs.files, partials, strict=True))
        with writing(outputs.table):
            place[outputs.table].write_text(table.csv(), encoding="utf-8")
        if outputs.parquet is not None:
            with writing(outputs.parquet):
                table.write_parquet(place[outputs.parquet])
        if outputs.instances is not None:
            with StackWriter(outputs.instances, header, place[outputs.instances]) as writer:
                for numbers in objects.instances():
                    writer.write(numbers)


def print_further(outputs: MeasureOutputs, console: Console) -> None:
    """Print a line for each file beside the table of objects."""
    for path, content in (
        (outputs.parquet, "the same table"),
        (outputs.page, "histograms"),
        (outputs.instances, "the number of its object at each voxel"),
    ):
        if path is not None:
            print_line(console, f"{path}: {content}")


def summary_table(summaries: Sequence[ClassMeasures], units: Units) -> Table:
    """Make the printed table, a row per class."""
    table = Table(
        "class",
        "objects",
        "at the border",
        f"volume {units.volume_text}",
        "of the stack",
        f"median {units.volume_text}",
        f"surface {units.area_text}",
        caption="objects at the border continue outside: only the part in the stack is measured",
    )
    for summary in summaries:
        table.add_row(
            summary.name,
            str(summary.objects),
            str(summary.at_border),
            f"{summary.volume:.4g}",
            f"{summary.share:.1%}",
            "-" if summary.median is None else f"{summary.median:.4g}",
            f"{summary.surface:.4g}",
        )
    return table
