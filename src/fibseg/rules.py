"""Which values are possible, as data: a condition, and what a user is told to give instead.

Here: rules for numbers, choices and names, wherever they enter: a configuration, a data
description, a model file, an argument. Not here: which key has which rule.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

from fibseg.errors import FibsegError


# Rules are data and not code, so that one function says every mistake in the same sentence.
class Rule(NamedTuple):
    """A condition on a value, and what a user is told to give instead."""

    holds: Callable[[Any], bool]
    expected: str


class Check(NamedTuple):
    """A rule for the value of a key."""

    key: str
    value: Any
    rule: Rule


def among(*choices: str) -> Rule:
    """The rule that a value is one of these."""
    # As a sentence needs it: auto, 32 or bf16.
    words = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return Rule(lambda value: value in choices, words)


def require(*checks: Check) -> None:
    """Check values in the given order.

    Raises:
        FibsegError: the first one that is impossible, with what is expected.
    """
    for key, value, rule in checks:
        if not rule.holds(value):
            raise FibsegError(f"{key}: {brief(value)} is impossible; expected {rule.expected}.")


def whole(low: int, high: int) -> Rule:
    """The rule for a whole number of this range, ends included."""
    # Not isinstance: True is a whole number for Python.
    return Rule(
        lambda value: type(value) is int and low <= value <= high,
        f"a whole number from {low} to {high}",
    )


def number(low: float, high: float) -> Rule:
    """The rule for a number of this range, ends included, which NaN is not."""
    return Rule(
        lambda value: type(value) in (int, float) and low <= value <= high,
        f"a number from {low:g} to {high:g}",
    )


def list_of(rule: Rule, shortest: int, longest: int, distinct: bool = False) -> Rule:
    """The rule for a list of so many values that hold another rule."""

    def holds(values: Any) -> bool:
        fits = isinstance(values, list | tuple) and shortest <= len(values) <= longest
        fits = fits and all(rule.holds(value) for value in values)
        return fits and (not distinct or len(set(values)) == len(values))

    count = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
    return Rule(holds, f"a list of {count}, each {rule.expected}")


def brief(value: Any) -> str:
    """Write a value as part of a sentence: on one line, and cut where it is long.

    >>> brief([1, 2])
    '[1, 2]'
    """
    # An empty text would not be seen.
    text = str(value) or "''"
    # Control characters would break the sentence, or colour the terminal.
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def file_name_part(name: str) -> str:
    """Write a name as part of a file name; a model from elsewhere may have any text for one.

    >>> file_name_part("ER/Golgi"), file_name_part("Müller glia (a+b)")
    ('ER_Golgi', 'Müller glia (a+b)')
    """
    kept = (letter if _is_letter(letter) or letter in _OTHERS else "_" for letter in name)
    return "".join(kept)[:_LONGEST_NAME]


def _is_letter(letter: str) -> bool:
    """Whether this is a letter, digit or mark of any script, or an underscore."""
    return letter == "_" or unicodedata.category(letter)[0] in "LNM"


def _is_class_name(value: str) -> bool:
    return 0 < len(value) <= _LONGEST_NAME and value.isprintable() and value == value.strip()


_OTHERS = " .+-()"
"""Signs that any file system takes in a name."""

_LONGEST_VALUE = 120
"""Letters of a value that a sentence repeats."""

_LONGEST_NAME = 100
"""Letters of a name: names become parts of file names, which have 255 bytes at most."""

COUNT = Rule(lambda value: value >= 1, "1 or more")
NOT_NEGATIVE = Rule(lambda value: value >= 0, "0 or more")
# Comparisons with NaN are false, so that NaN fails every rule of a range.
POSITIVE = Rule(lambda value: 0 < value < float("inf"), "above 0")
SHARE = Rule(lambda value: 0 <= value <= 1, "0 to 1")
BELOW_ONE = Rule(lambda value: 0 <= value < 1, "0 to below 1")
MOMENTUM = Rule(lambda value: 0 < value <= 1, "above 0, to 1")

_FOLDER_NAME = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{_LONGEST_NAME - 1}}}")

# Names of data sets and runs become folders and values on Hydra's command line.
NAME = Rule(
    lambda value: _FOLDER_NAME.fullmatch(value) is not None,
    f"letters, digits, . _ and -, {_LONGEST_NAME} at most",
)

# Names of classes become headings, cells, keys and, by `file_name_part`, parts of file names: each
# of these has its own way to write a sign. A line end or a colour of the terminal has none.
CLASS_NAME = Rule(
    _is_class_name, f"1 to {_LONGEST_NAME} letters, digits or signs, without blanks at the ends"
)


def what_to_type(word: str) -> str:
    """A word that Hydra cannot read, as it can be typed into a shell."""
    key, _, value = word.partition("=")
    escaped = re.sub(
        r"(\\*)(\"|$)", lambda match: match[1] * 2 + match[2].replace('"', r"\""), value
    )
    return shlex.quote(f'{key}="{escaped}"')
