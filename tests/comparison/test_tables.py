"""Tables as text in four forms, and the tables of a comparison worked out by hand, to the last digit."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

import pytest

from fibseg.commands.main import main
from fibseg.comparison.text import Table
from tests.support.runs import make_run


def test_a_table_in_every_form() -> None:
    table = Table(
        "t", "A_title & 5 %", ["a|b", "c"], [["=1+1", "0.5 ± 0.1"], ["-0.014", "x_y"]], ["note <1>"]
    )
    rows = list(csv.reader(table.csv().splitlines()))
    assert rows == [["a|b", "c"], ["'=1+1", "0.5 ± 0.1"], ["-0.014", "x_y"]]
    assert "| a\\|b | c |" in table.markdown() and "note \\<1>" in table.markdown()
    latex = table.latex()
    assert r"A\_title \& 5 \%" in latex and r"0.5 $\pm$ 0.1" in latex
    assert latex.count("{") == latex.count("}")
    assert latex.count("\\begin") == latex.count("\\end") == 2


def test_letters_that_latex_lacks() -> None:
    latex = Table("t", "λ of é and β", ["字"], [["µ"]]).latex()
    assert (
        r"$\lambda$ of é and $\beta$" in latex
        and "?" in latex
        and "字" not in latex
        and r"$\mu$" in latex
    )


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    """Two configurations of three runs with two test slices each; F1 of runs .85, .87, .75 and .86, .89, .76."""
    for seed, (validation, first, second) in enumerate(
        ((0.5, 0.80, 0.90), (0.6, 0.82, 0.92), (0.4, 0.70, 0.80))
    ):
        make_run(tmp_path / "runs", "unet-off", seed, [validation], [first, second])
    for seed, (validation, first, second) in enumerate(
        ((0.5, 0.81, 0.91), (0.6, 0.84, 0.94), (0.4, 0.71, 0.81))
    ):
        make_run(tmp_path / "runs", "unet-on", seed, [validation], [first, second])
    return tmp_path


def test_tables_worked_out_by_hand(compared: Path) -> None:
    """Best two of three by validation are seeds 0 and 1; of three values .85, .87, .75 the deviation is .0643.

    A component of 10,000 pixels on each slice is found above F1 .80: on no, one or both slices of a run.
    """
    out = compared / "out"
    assert main(["compare", str(compared / "runs"), "--output", str(out)]) == 0
    assert (out / "table1-cell.csv").read_text().splitlines() == [
        "configuration,runs,er",
        "unet-off,best 2 of 3,0.860 ± 0.014",
        "unet-off,all 3,0.823 ± 0.064",
        "unet-on,best 2 of 3,0.875 ± 0.021",
        "unet-on,all 3,0.837 ± 0.068",
    ]
    assert (out / "table2-cell.csv").read_text().splitlines() == [
        "run,class (components),TP,FN,UD,right,false,partly,merges,splits",
        '"unet-off, seed 1",er (2),100.0% (2; 0 to 2),0.0% (0; 0 to 0),0.0% (0; 0 to 2),2,0,0,0,0',
        '"unet-on, seed 1",er (2),100.0% (2; 1 to 2),0.0% (0; 0 to 0),0.0% (0; 0 to 1),2,0,0,0,0',
    ]
    (contrast,) = csv.DictReader((out / "contrasts-cell.csv").read_text().splitlines())
    assert contrast["contrast"] == "unet-on less unet-off"
    # differences .01, .02, .01: mean .0133, deviation .00577, half width 4.303 * .00577 / sqrt(3) = .0143
    assert (contrast["test F1"], contrast["from"], contrast["to"]) == ("+0.013", "-0.001", "+0.028")
    assert (contrast["p"], contrast["seeds"]) == ("too few seeds for a 5 % test", "3")
    pooled = list(csv.DictReader((out / "scores-cell.csv").read_text().splitlines()))
    # as many misses as false ones, slices of one size: F1, precision and recall of all pixels are the mean .8233
    assert {pooled[0][name] for name in ("pooled F1", "precision", "recall")} == {"0.823"}
    assert pooled[0]["IoU"] == "0.703"  # mean of .85, .87, .75 as F / (2 - F): .739, .770, .600
    assert main(["compare", str(compared / "runs"), "--output", str(out), "--paper-style"]) == 0
    assert (
        "unet-off,all 3,0.823 ± 0.052" in (out / "table1-cell.csv").read_text()
    )  # of a population .0525, cut off


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="no pdflatex here: the LaTeX tables are not compiled"
)
def test_latex_compiles(compared: Path) -> None:
    out = compared / "out"
    assert main(["compare", str(compared / "runs"), "--output", str(out), "--strata", "10"]) == 0
    (out / "odd.tex").write_text(
        Table(
            "t", "λ_字 \u03b3\u03bf \\ {éęþ} ~^$#&%", ["<a>", "b"], [["± 1", "[x]"]], ["note"]
        ).latex()
    )
    inputs = [rf"\input{{{path.stem}}}" for path in sorted(out.glob("*.tex"))]
    (out / "whole.tex").write_text(
        "\n".join(
            [
                r"\documentclass{article}\usepackage{graphicx}\begin{document}",
                *inputs,
                r"\end{document}",
            ]
        )
    )
    line = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "whole.tex"]
    done = subprocess.run(line, cwd=out, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert b"Output written on whole.pdf" in done.stdout
