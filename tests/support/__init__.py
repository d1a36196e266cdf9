"""What tests share. Modules that need torch are imported by name: `tests.support.models` and the like."""

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
