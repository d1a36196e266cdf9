"""What `${...}` may ask for in a configuration: other keys, and harmless variables.

OmegaConf would also compute, import from other files and read any environment variable, and the
result would reach run directories, boards and the hosts of URLs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from fibseg.errors import FibsegError
from fibseg.rules import brief
from fibseg.runs.masking import is_secret_name

_REFERENCE = re.compile(r"\$\{[A-Za-z0-9_.\[\]]+\}")
"""The value of another key."""

_VARIABLE = re.compile(r"\$\{oc\.env:([A-Za-z_][A-Za-z0-9_]*)(?:,[^${}]*)?\}")
"""An environment variable, with or without a value in its place."""


def refuse_resolvers(content: Any, where: str, allowed: Sequence[str] | None) -> None:
    """Check every text of a configuration that is not resolved yet.

    Args:
        content: mappings, lists and values.
        where: of them, for the message.
        allowed: texts with variables that a user typed; None where any text may have them.

    Raises:
        FibsegError: a text asks for anything but other keys and variables, or for a secret.
    """
    for key, text in _texts(content, ""):
        rest = _REFERENCE.sub("", text)
        if "${" not in rest:
            continue
        variables = _VARIABLE.findall(rest)
        secret = next((name for name in variables if is_secret_name(name)), None)
        if secret is not None:
            raise FibsegError(
                f"{where}{key}: {secret} is a secret, which no configuration may read; take it out."
            )
        is_typed = allowed is None or any(text in override for override in allowed)
        if "${" in _VARIABLE.sub("", rest) or not is_typed:
            raise FibsegError(
                f"{where}{key}: {brief(text)} would be computed; write the value itself."
            )


def _texts(content: Any, place: str) -> Iterator[tuple[str, str]]:
    """Dotted key and text of each text, keys included."""
    if isinstance(content, str):
        yield place, content
    elif isinstance(content, dict):
        for key, value in content.items():
            name = f"{place}.{key}" if place else str(key)
            yield name, str(key)
            yield from _texts(value, name)
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _texts(value, f"{place}[{index}]")
