"""A table of text, on a terminal and as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import unicodedata
from dataclasses import dataclass, field

from rich.markup import escape
from rich.table import Column
from rich.table import Table as RichTable


@dataclass(frozen=True)
class Table:
    """Cells are text; a row has as many as there are columns. `notes` stand below."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def rich(self) -> RichTable:
        """For a terminal; names from configurations are no markup."""
        columns = [Column(escape(name), overflow="fold") for name in self.columns]
        table = RichTable(
            *columns, title=escape(self.title), caption=escape("\n".join(self.notes)) or None
        )
        for row in self.rows:
            table.add_row(*map(escape, row))
        return table

    def csv(self) -> str:
        """With a header, and without title and notes."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([_no_formula(name) for name in self.columns])
        writer.writerows([_no_formula(cell) for cell in row] for row in self.rows)
        return text.getvalue()

    def markdown(self) -> str:
        """Title, table, notes."""
        lines = [[escaped(cell) for cell in row] for row in (self.columns, *self.rows)]
        text = ["| " + " | ".join(line) + " |" for line in lines]
        text.insert(1, "|" + "---|" * len(self.columns))
        notes = [f"{note}\n" for note in map(escaped, self.notes)]
        return "\n".join([f"## {escaped(self.title)}\n", *text, "", *notes])

    def latex(self) -> str:
        """A table environment; a wide one is fitted to the line, by the package graphicx."""
        columns = "l" * len(self.columns)
        head, *rows = (" & ".join(map(_latex, row)) + r" \\" for row in (self.columns, *self.rows))
        body = "\n".join([r"\hline", head, r"\hline", *rows, r"\hline"])
        tabular = f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}"
        longest = sum(
            max(len(row[k]) for row in (self.columns, *self.rows)) for k in range(len(self.columns))
        )
        if longest + 2 * len(self.columns) > LINE:
            tabular = f"\\resizebox{{\\textwidth}}{{!}}{{%\n{tabular}}}"
        notes = "".join(f"\n\n{_latex(note)}" for note in self.notes)
        return (
            "\\begin{table}\n\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n"
            f"\\caption{{{_latex(self.title)}}}\n{tabular}{notes}\n\\end{{table}}\n"
        )


LINE = 75
"""Letters of a line of LaTeX's article in footnotesize."""


def _no_formula(cell: str) -> str:
    """A spreadsheet takes text that begins so for a formula; a number stays one."""
    try:
        float(cell)
    except ValueError:
        return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") and len(cell) > 1 else cell
    return cell


def escaped(text: str) -> str:
    """Text that means nothing else in Markdown."""
    for letter in ("\\", "|", "*", "_", "<", "[", "`"):
        text = text.replace(letter, f"\\{letter}")
    return text.replace("\n", " ")


LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "λ": r"$\lambda$",
    "\u03bf": "o",
    "µ": r"$\mu$",
    "\u00d7": r"$\times$",
    "\u00f7": r"$\div$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
}


GREEK = "GREEK SMALL LETTER "


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter) or _plain(letter) for letter in text)


def _plain(letter: str) -> str:
    """What LaTeX without a package can set: Latin letters, small Greek ones as mathematics, a mark for others."""
    name = unicodedata.name(letter, "")
    if name.startswith(GREEK) and name.removeprefix(GREEK).isalpha():
        return f"$\\{name.removeprefix(GREEK).lower()}$"
    if letter.isascii() or ("À" <= letter <= "ÿ" and letter not in "ÐðÞþ"):
        return letter
    bare = unicodedata.normalize("NFD", letter)[0]
    return bare if bare.isascii() else "?"
