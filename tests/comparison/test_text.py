"""Tables as text in four forms."""

from __future__ import annotations

import csv

from fibseg.comparison.text import Table


def test_a_table_in_every_form() -> None:
    table = Table(
        name="t",
        title="A_title & 5 %",
        columns=["a|b", "c"],
        rows=[["=1+1", "0.5 ± 0.1"], ["-0.014", "x_y"]],
        notes=["note <1>"],
    )
    rows = list(csv.reader(table.csv().splitlines()))
    assert rows == [["a|b", "c"], ["'=1+1", "0.5 ± 0.1"], ["-0.014", "x_y"]]
    assert "| a\\|b | c |" in table.markdown() and "note \\<1>" in table.markdown()
    latex = table.latex()
    assert r"A\_title \& 5 \%" in latex and r"0.5 $\pm$ 0.1" in latex
    assert latex.count("{") == latex.count("}")
    assert latex.count("\\begin") == latex.count("\\end") == 2
    assert "resizebox" not in latex


def test_a_wide_table_is_shrunk_to_the_line() -> None:
    latex = Table("t", "title", ["a" * 40, "b" * 40], [["1", "2"]]).latex()
    assert r"\resizebox{\textwidth}" in latex


def test_latex_counts_the_tables_itself() -> None:
    table = Table("t", "Table 2: cell, components", ["a"], [["1"]])
    assert r"\caption{cell, components}" in table.latex()
    assert "Table 2: cell" in table.markdown()


def test_letters_that_latex_lacks() -> None:
    latex = Table("t", "λ of é and β", ["字"], [["µ"]]).latex()
    assert r"$\lambda$ of é and $\beta$" in latex and r"$\mu$" in latex
    assert "?" in latex and "字" not in latex
