"""Secrets of the environment, which no file of a run may hold."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)

_SHORTEST_SECRET = 8
"""Letters of a secret: shorter values, as 1 or true, occur in texts by chance."""


def is_secret_name(variable: str) -> bool:
    """Whether an environment variable of this name holds a secret, as WANDB_API_KEY does."""
    return _SECRET_NAME.search(variable) is not None


def without_secrets(value: Any) -> Any:
    """Texts, lists and mappings with the name of the variable in place of every secret's value.

    >>> os.environ["SOME_API_KEY"] = "0123456789abcdef"
    >>> without_secrets({"tags": ["key 0123456789abcdef"]})
    {'tags': ['key (SOME_API_KEY)']}
    """
    if isinstance(value, str):
        for name, secret in _secrets():
            value = value.replace(secret, f"({name})")
        return value
    if isinstance(value, dict):
        return {without_secrets(key): without_secrets(entry) for key, entry in value.items()}
    return [without_secrets(entry) for entry in value] if isinstance(value, list) else value


def _secrets() -> list[tuple[str, str]]:
    """Name and value of each secret, longest values first: one may be a part of another."""
    pairs = [
        (name, value)
        for name, value in os.environ.items()
        # The path of a key is no secret, and may be that of the data.
        if is_secret_name(name) and len(value) >= _SHORTEST_SECRET and not _is_path(value)
    ]
    return sorted(pairs, key=lambda pair: -len(pair[1]))


def _is_path(value: str) -> bool:
    try:
        return Path(value).exists()
    # A secret may be longer than a file name, or hold what none may.
    except (OSError, ValueError):
        return False
