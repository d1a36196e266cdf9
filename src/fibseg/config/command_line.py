"""A command line in Hydra's grammar, so that paths are typed as they are.

Hydra reads `key=value` by a grammar in which a comma, a bracket, an ampersand or a letter beyond
ASCII means something or is refused. Where a value can be nothing but a text, it is put in quotes
here, before Hydra reads it.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from fibseg.config.schemas import GROUPS, MODEL_SCHEMAS, PATHS, PredictConfig, TrainConfig
from fibseg.errors import FibsegError
from fibseg.rules import what_to_type

_MULTIRUN = ("-m", "--multirun")

_TEXT = (str, str | None)
_TEXTS = (list[str], list[str] | None)

_PART = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^,]*?)\s*(,|$)""", re.DOTALL)
"""A value of a list or of a sweep, which may be in quotes, and what ends it."""


def quoted(text: str) -> str:
    """Text in quotes of Hydra's grammar, where every letter stands for itself."""
    # Hydra halves backslashes before a quote, and leaves all others as they are.
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + match[2].replace("'", r"\'"), text)
    return f"'{escaped}'"


def readable(arguments: Sequence[str]) -> list[str]:
    """Arguments of `train` or `predict` with every text and path as Hydra can read it.

    A path is taken as it is; `~` at its start is the home directory. Only in a sweep (-m) a comma
    separates the values of a path, as it does for every other key.

    Raises:
        FibsegError: in a sweep, a comma is part of the name of a file that exists.
    """
    is_sweep = any(argument in _MULTIRUN for argument in arguments)
    return [_readable_word(argument, is_sweep) for argument in arguments]


def _readable_word(word: str, is_sweep: bool) -> str:
    key, equals, value = word.partition("=")
    name = key.lstrip("+")
    # Options of argparse, and words without a value, are Hydra's to judge.
    if not equals or word.startswith("-") or name not in _KEYS:
        return word
    override = _parsed(value)
    # As choice(a,b), whose values Hydra separates.
    if is_sweep and override is not None and re.match(r"\w+\(.*,.*\)$", value):
        return word
    if name in PATHS:
        parts = _sweep_parts(word, value) if is_sweep else [value]
        return f"{key}={','.join(text_in_grammar(part, is_path=True) for part in parts)}"
    if override is not None:
        return word
    if _KEYS[name] in _TEXTS:
        if not (value.startswith("[") and value.endswith("]")):
            return word
        entries = [text_in_grammar(part) for part in _parts(value[1:-1])]
        return f"{key}=[{','.join(entries)}]"
    parts = _parts(value) if is_sweep else [value]
    return f"{key}={','.join(text_in_grammar(part) for part in parts)}"


def typed_texts(arguments: Sequence[str], key: str) -> list[str]:
    """The values that a command line gives to a key, those of a sweep one by one."""
    words = [word.partition("=") for word in arguments]
    # As +data=NAME and data@data=NAME, too.
    values = [value for name, _, value in words if name.lstrip("+").split("@")[0] == key]
    texts = []
    for part in itertools.chain.from_iterable(map(_parts, values)):
        override = _parsed(part)
        texts.append(str(override.value()) if override is not None else part)
    return texts


def text_in_grammar(text: str, is_path: bool = False) -> str:
    """A text as it was typed where Hydra reads it as a text, in quotes elsewhere.

    Quotes around all of it, and backslashes before signs that Hydra knows, mean what they mean to
    Hydra. A path may begin with `~` for the home directory.
    """
    override = _parsed(text)
    value = None if override is None or override.is_sweep_override() else override.value()
    # null is no text.
    if value is None and text.lower() == "null":
        return text
    if is_path:
        meant = value if isinstance(value, str) else text
        if with_home(meant) != meant:
            return quoted(with_home(meant))
    # 1e3 would be a number, whose text is another one; blanks at the ends would be lost.
    return text if isinstance(value, str) and text == text.strip() else quoted(text)


def with_home(path: str) -> str:
    """A path with the home directory for a leading `~`, if there is one."""
    # Not pathlib, which would make file:/ of file://, and raise where there is no home.
    return os.path.expanduser(path)  # noqa: PTH111


def _sweep_parts(word: str, value: str) -> list[str]:
    """The values of a path in a sweep."""
    if len(parts := _parts(value)) > 1 and Path(with_home(value)).exists():
        raise FibsegError(
            f"{word}: in a sweep, a comma separates values; for the file of this name, type "
            f"{what_to_type(word)}."
        )
    return parts


def _parts(value: str) -> list[str]:
    """A value cut at its commas, but for those in quotes."""
    return list(_cut(value))


def _cut(value: str) -> Iterator[str]:
    start = 0
    while True:
        match = _PART.match(value, start)
        # The last choice of the pattern matches any text.
        assert match is not None
        yield match[1]
        if not match[2]:
            return
        start = match.end()


def _parsed(value: str) -> Override | None:
    """What Hydra reads from a value; None where its grammar has no such value."""
    try:
        # With any key: what a value means does not depend on it.
        return _parser().parse_override(f"key={value}")
    except HydraException:
        return None


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _keys(schema: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and type of each value in a schema."""
    for name, kind in get_type_hints(schema).items():
        if is_dataclass(kind):
            assert isinstance(kind, type)
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, kind


def _text_keys() -> Mapping[str, Any]:
    """Key -> type of each key of the two programs that takes texts."""
    schemas = [(TrainConfig, ""), (PredictConfig, "")]
    schemas += [(schema, "model.") for schema in MODEL_SCHEMAS.values()]
    keys = {key: kind for schema, prefix in schemas for key, kind in _keys(schema, prefix)}
    texts = {key: kind for key, kind in keys.items() if kind in (*_TEXT, *_TEXTS)}
    return {**dict.fromkeys(GROUPS, str), **texts}


_KEYS = _text_keys()
