"""The sentence that a user reads when a configuration is wrong: the key, and what is allowed."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import fields, is_dataclass
from typing import Any, TextIO, cast

import yaml
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fibseg.errors import FibsegError

SCHEMAS: dict[str, type] = {}
"""Dataclasses of the configuration by name, for the keys they allow; config.py fills it."""


def sentence(error: BaseException) -> str:
    """One line from an error of Hydra, OmegaConf or the system: the key, and what is allowed."""
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OverrideParseException):
        quoted = "'key=\"a=b\"'"
        return (
            f"{error.override}: cannot be read; put values with = , {{ [ or blanks in quotes: "
            f"{quoted}."
        )
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename}: no permission to read or write there; give another place."
    key = getattr(error, "full_key", None)
    text = str(error).strip()
    unknown = re.search(r"Key '([^']*)' (?:is )?not in '?(\w+)", text)
    if unknown:
        return _unknown_key(key or unknown[1], unknown[2])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Hydra and OmegaConf add lines about their own objects, which say nothing to a user.
    internal = r"(full_key|object_type|reference_type|Config search path|provider=)"
    details = [line for line in lines[1:] if not re.match(internal, line)]
    first = " ".join([lines[0], *details])[:400] if lines else type(error).__name__
    if "Could not find 'data/" in first:
        first += (
            "; your own is read from conf/data/NAME.yaml in the current folder, "
            "or from DIR/data/NAME.yaml with --config-dir=DIR"
        )
    return f"{key}: {first}" if key else first


def _unknown_key(key: str, schema: str) -> str:
    allowed = sorted(field.name for field in fields(SCHEMAS[schema])) if schema in SCHEMAS else []
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], allowed, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    return f"{key}: no such key; expected one of {', '.join(allowed)}.{meant}"


def refuse_additions(node: Any, place: str = "") -> None:
    """Refuse keys that `+key=value` added to a schema: Hydra takes them, and nothing reads them."""
    if not isinstance(node, (DictConfig, ListConfig)) or node._is_none() or node._is_missing():
        return
    if isinstance(node, ListConfig):
        for index, child in enumerate(node):
            refuse_additions(child, f"{place}{index}.")
        return
    schema = OmegaConf.get_type(node)
    known = (
        {field.name for field in fields(schema)}
        if schema is not None and is_dataclass(schema)
        else set(node)
    )
    for name, child in node.items_ex(resolve=False):
        if name not in known:
            raise FibsegError(_unknown_key(f"{place}{name!s}", schema.__name__ if schema else ""))
        refuse_additions(child, f"{place}{name!s}.")


class _WithoutHydraLine:
    """stderr less the line that Hydra writes before it raises the error of a job."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        return (
            len(text)
            if text.startswith("Error executing job with overrides")
            else self._stream.write(text)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def run_with_sentences(main: Callable[[], Any]) -> int:
    """Call a Hydra main; a user's mistake becomes one sentence on stderr. Returns the exit code."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises instead of printing and leaving
    try:
        with redirect_stderr(cast(TextIO, _WithoutHydraLine(sys.stderr))):
            main()
    except FibsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped.", file=sys.stderr)
        return 130
    return 0
