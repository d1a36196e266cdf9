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
        table = RichTable(*columns, title=escape(self.title), caption=escape("\n".join(self.notes)) or None)
        for row in self.rows:
            table.add_row(*map(escape, row))
        return table

    def csv(self) -> str:
        """With a header, and without title and notes."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_no_formula(cell) for cell in row] for row in self.rows)
        return text.getvalue()

    def markdown(self) -> str:
        """Title, table, notes."""
        lines = [[_markdown(cell) for cell in row] for row in (self.columns, *self.rows)]
        text = ["| " + " | ".join(line) + " |" for line in lines]
        text.insert(1, "|" + "---|" * len(self.columns))
        notes = [f"{note}\n" for note in map(_markdown, self.notes)]
        return "\n".join([f"## {_markdown(self.title)}\n", *text, "", *notes])

    def latex(self) -> str:
        """A table environment that needs no package."""
        columns = "l" * len(self.columns)
        head, *rows = (" & ".join(map(_latex, row)) + r" \\" for row in (self.columns, *self.rows))
        body = "\n".join([r"\hline", head, r"\hline", *rows, r"\hline"])
        notes = "".join(rf"\\ {_latex(note)}" for note in self.notes)
        return (
            "\\begin{table}\n\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n"
            f"\\caption{{{_latex(self.title)}}}\n\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n"
            f"{notes.removeprefix(chr(92) * 2 + ' ')}\n\\end{{table}}\n"
        )


def _no_formula(cell: str) -> str:
    """A spreadsheet takes text that begins so for a formula; a number stays one."""
    try:
        float(cell)
    except ValueError:
        return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell
    return cell


def _markdown(text: str) -> str:
    for letter in ("\\", "|", "*", "_", "<", "[", "`"):
        text = text.replace(letter, f"\\{letter}")
    return text.replace("\n", " ")


LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "λ": r"$\lambda$", "\u03bf": "o", "µ": r"$\mu$",  # lamda is how Unicode writes it
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


GREEK = "GREEK SMALL LETTER "


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter) or _plain(letter) for letter in text)


def _plain(letter: str) -> str:
    """What LaTeX without a package can set: Latin letters, small Greek ones as mathematics, a mark for others."""
    name = unicodedata.name(letter, "")
    if name.startswith(GREEK) and name.removeprefix(GREEK).isalpha():
        return f"$\\{name.removeprefix(GREEK).lower()}$"
    return letter if letter.isascii() or "À" <= letter <= "ž" else "?"
