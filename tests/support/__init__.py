"""Helpers that several test modules use.

Modules that need torch or a library of file formats are imported by name, as
`tests.support.models`; what every test may need is re-exported here.
"""

from tests.support.commands import PROJECT, Commands, hear_the_keyboard, printed_rows
from tests.support.data import SHAPE, SPLIT, TINY, describe

__all__ = [
    "PROJECT",
    "SHAPE",
    "SPLIT",
    "TINY",
    "Commands",
    "describe",
    "hear_the_keyboard",
    "printed_rows",
]
