"""Texts in cells of CSV files, which spreadsheets may not take for formulas."""

from __future__ import annotations

import re

# Single quotes before it count too, so that a text that begins with one is read back as it was.
_FORMULA = re.compile(r"'*[=+\-@\t\r].", re.DOTALL)


def text_cell(text: str) -> str:
    """Text as a cell that no spreadsheet runs; numbers stay numbers.

    A name such as "=cmd" would run where the file is opened. The quote in front makes it text, as
    OWASP recommends against CSV injection.

    >>> text_cell("=cmd|' /C calc'!A0"), text_cell("membrane"), text_cell("-3.5")
    ("'=cmd|' /C calc'!A0", 'membrane', '-3.5')
    """
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def text_of_cell(cell: str) -> str:
    """The text of which `text_cell` made a cell.

    >>> text_of_cell("'=cmd"), text_of_cell("membrane")
    ('=cmd', 'membrane')
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
