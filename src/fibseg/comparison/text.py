"""A table of text, on a terminal and as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

from fibseg.spreadsheets import text_cell


@dataclass(frozen=True)
class Table:
    """A table whose cells are text.

    Attributes:
        name: of its files, without an ending.
        title: a line above the table.
        columns: heads of the columns.
        rows: cells, as many in each row as there are columns.
        notes: lines below the table.
    """

    name: str
    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def rich(self) -> RichTable:
        """The table for a terminal."""
        # As Text: a name may hold brackets, which Rich would take for markup in a string.
        columns = [Column(Text(name), overflow="fold") for name in self.columns]
        caption = Text("\n".join(self.notes)) if self.notes else None
        table = RichTable(*columns, title=Text(self.title), caption=caption)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def csv(self) -> str:
        """The table as CSV with a header, without title and notes."""
        text = io.StringIO()
        # The line end of the csv module is \r\n unless it is told otherwise.
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([text_cell(name) for name in self.columns])
        writer.writerows([text_cell(cell) for cell in row] for row in self.rows)
        return text.getvalue()

    def markdown(self) -> str:
        """Title, table and notes as Markdown."""
        lines = [[escape_markdown(cell) for cell in row] for row in (self.columns, *self.rows)]
        text = ["| " + " | ".join(line) + " |" for line in lines]
        # Markdown takes lines for a table only with a rule below the heads.
        text.insert(1, "|" + "---|" * len(self.columns))
        notes = [f"{escape_markdown(note)}\n" for note in self.notes]
        return "\n".join([f"## {escape_markdown(self.title)}\n", *text, "", *notes])

    def latex(self) -> str:
        """A table environment of LaTeX; the package graphicx shrinks one wider than the line."""
        columns = "l" * len(self.columns)
        head, *rows = (" & ".join(map(_latex, row)) + r" \\" for row in (self.columns, *self.rows))
        body = "\n".join([r"\hline", head, r"\hline", *rows, r"\hline"])
        tabular = f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}"
        # resizebox would blow a narrow table up to the whole line.
        if self._letters() > _LATEX_LINE:
            tabular = f"\\resizebox{{\\textwidth}}{{!}}{{%\n{tabular}}}"
        notes = "".join(f"\n\n{_latex(note)}" for note in self.notes)
        caption = _latex(_TABLE_NUMBER.sub("", self.title))
        return (
            "\\begin{table}\n\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n"
            f"\\caption{{{caption}}}\n{tabular}{notes}\n\\end{{table}}\n"
        )

    def booktabs(self, finish: Callable[[str, str], str] | None = None) -> str:
        """A table environment with the rules of the package booktabs; the title is its caption.

        `finish` gets a cell as it is and as LaTeX, and gives the LaTeX to set.
        """
        rows = [
            [_latex(cell) if finish is None else finish(cell, _latex(cell)) for cell in row]
            for row in self.rows
        ]
        head = [_latex(name) for name in self.columns]
        lines = [" & ".join(row) + r" \\" for row in (head, *rows)]
        body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
        tabular = f"\\begin{{tabular}}{{{'l' * len(head)}}}\n{body}\n\\end{{tabular}}"
        if self._letters() > _LATEX_LINE:
            tabular = f"\\resizebox{{\\textwidth}}{{!}}{{%\n{tabular}}}"
        return (
            "\\begin{table}\n\\centering\\footnotesize\\setlength{\\tabcolsep}{4pt}\n"
            f"\\caption{{{_latex(self.title)}}}\n{tabular}\n\\end{{table}}\n"
        )

    def _letters(self) -> int:
        """Width of the table in letters, with two for the space between columns."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        return sum(widths) + 2 * len(widths)


_TABLE_NUMBER = re.compile(r"^Table \d+: ")
"""LaTeX counts the tables of a paper itself."""

_LATEX_LINE = 75
"""Letters of a line of LaTeX's article in footnotesize."""


def escape_markdown(text: str) -> str:
    r"""Text in one line that has no other meaning in Markdown.

    >>> print(escape_markdown("a_b"))
    a\_b
    """
    # The backslash first, or it would escape the escapes.
    for letter in ("\\", "|", "*", "_", "<", "[", "`"):
        text = text.replace(letter, f"\\{letter}")
    return text.replace("\n", " ")


_LATEX_LETTERS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    # Unicode spells its name LAMDA, so that the rule for Greek letters would miss it.
    "λ": r"$\lambda$",
    # LaTeX has no command for omicron.
    "\u03bf": "o",
    # The micro sign of Latin-1, which is not the Greek letter. The two operators after it lie among
    # the letters of Latin-1.
    "µ": r"$\mu$",
    "\u00d7": r"$\times$",
    "\u00f7": r"$\div$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
}

_GREEK = "GREEK SMALL LETTER "


def _latex(text: str) -> str:
    return "".join(_LATEX_LETTERS.get(letter) or _plain_letter(letter) for letter in text)


def _plain_letter(letter: str) -> str:
    """A letter that LaTeX sets without a package.

    Latin letters stay, small Greek ones become mathematics, others lose their accents or become a
    question mark.
    """
    # isalpha: names of accented letters have several words, as ALPHA WITH TONOS.
    name = unicodedata.name(letter, "")
    if name.startswith(_GREEK) and name.removeprefix(_GREEK).isalpha():
        return f"$\\{name.removeprefix(_GREEK).lower()}$"
    # LaTeX's default fonts have the letters of Latin-1 but for these.
    if letter.isascii() or ("À" <= letter <= "ÿ" and letter not in "ÐðÞþ"):
        return letter
    # NFD takes a letter apart: the plain one first, then its accents.
    without_accent = unicodedata.normalize("NFD", letter)[0]
    return without_accent if without_accent.isascii() else "?"
