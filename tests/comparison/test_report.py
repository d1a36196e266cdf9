"""What is written of a comparison, and that LaTeX takes it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fibseg.comparison.dataset import datasets_of
from fibseg.comparison.report import (
    ComparisonOptions,
    check_thin_classes,
    report_on,
    write_tables,
)
from fibseg.comparison.text import Table
from fibseg.errors import FibsegError
from fibseg.runs.collection import collect
from tests.support.runs import make_grid, make_run


def write_comparison(runs: Path, output: Path, options: ComparisonOptions) -> None:
    collection = collect([runs])
    reports = [report_on(dataset, options) for dataset in datasets_of(collection)]
    write_tables(output, reports, collection.left_out)


def test_each_table_is_a_file_and_those_before_are_removed(tmp_path: Path) -> None:
    make_grid(tmp_path / "runs", 2)
    output = tmp_path / "out"
    write_comparison(tmp_path / "runs", output, ComparisonOptions(strata=(10,)))
    names = {"answer", "table1", "table2", "scores", "costs", "contrasts", "details", "runs"}
    assert {path.stem for path in output.glob("*.csv")} == {
        f"{name}-cell" for name in (*names, "strata", "tidy")
    }
    assert "less unet-off" in (output / "comparison.md").read_text()
    (output / "notes.csv").write_text("of a person")
    (output / "tidy-former.csv").write_text("of data that is no longer compared")
    write_comparison(tmp_path / "runs", output, ComparisonOptions())
    assert {path.stem for path in output.glob("*.csv")} == {
        "notes",
        *(f"{name}-cell" for name in (*names, "tidy")),
    }


def test_files_of_a_folder_without_a_comparison_stay(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "unet-off", 0, [0.5], [0.5])
    output = tmp_path / "out"
    output.mkdir()
    (output / "table1-mine.csv").write_text("of a person")
    write_comparison(tmp_path / "runs", output, ComparisonOptions())
    assert (output / "table1-mine.csv").exists()


def test_thin_classes_that_no_data_set_has(tmp_path: Path) -> None:
    make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    datasets = datasets_of(collect([tmp_path]))
    check_thin_classes(datasets, ["er"])
    with pytest.raises(FibsegError, match="--thin: golgi; the classes are er"):
        check_thin_classes(datasets, ["er", "golgi"])


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="no pdflatex here: the LaTeX tables are not compiled"
)
def test_latex_compiles(tmp_path: Path) -> None:
    make_grid(tmp_path / "runs", 3)
    output = tmp_path / "out"
    write_comparison(tmp_path / "runs", output, ComparisonOptions(strata=(10,)))
    odd = Table(
        name="t",
        title="λ_字 \u03b3\u03bf \\ {éęþ} ~^$#&%",
        columns=["<a>", "b"],
        rows=[["± 1", "[x]"]],
        notes=["note"],
    )
    (output / "odd.tex").write_text(odd.latex())
    inputs = "\n".join(rf"\input{{{path.stem}}}" for path in sorted(output.glob("*.tex")))
    (output / "whole.tex").write_text(
        r"\documentclass{article}\usepackage{graphicx}\begin{document}"
        f"\n{inputs}\n"
        r"\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "whole.tex"]
    finished = subprocess.run(command, cwd=output, capture_output=True, check=False)
    assert finished.returncode == 0, finished.stdout.decode(errors="replace")[-2000:]
    assert b"Output written on whole.pdf" in finished.stdout
