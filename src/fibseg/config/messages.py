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

from fibseg.config.schemas import SCHEMAS
from fibseg.errors import FibsegError, Terminated
from fibseg.files import full_disk_sentence
from fibseg.machine import sigterm_is_ctrl_c
from fibseg.rules import what_to_type


def sentence(error: BaseException) -> str:
    """One line from an error of Hydra, OmegaConf or the system: the key, and what is allowed."""
    # Hydra wraps errors, and its own text names the file and not the key.
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OverrideParseException):
        word = error.override
        if "=" not in word:
            return f"{word}: cannot be read; expected KEY=VALUE, as in seed=1."
        return f"{word}: cannot be read; type it in quotes: {what_to_type(word)}."
    if full_disk := full_disk_sentence(error):
        return full_disk
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename}: no permission to read or write there; give another place."
    key = getattr(error, "full_key", None)
    text = str(error).strip()
    # OmegaConf words this error in two ways, for reading and for merging.
    unknown = re.search(r"Key '([^']*)' (?:is )?not in '?(\w+)", text)
    if unknown:
        return _unknown_key(key or unknown[1], unknown[2])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Hydra and OmegaConf add lines about their own objects, which say nothing to a user.
    internal = r"(full_key|object_type|reference_type|Config search path|provider=)"
    details = [line for line in lines[1:] if not re.match(internal, line)]
    # 400 letters: a list of all choices of a long group would hide the mistake.
    first = " ".join([lines[0], *details])[:400] if lines else type(error).__name__
    # The most frequent mistake of a newcomer: Hydra lists the choices, but not where it looks.
    if "Could not find 'data/" in first:
        first += (
            "; your own is read from conf/data/NAME.yaml in the current folder, "
            "or from DIR/data/NAME.yaml with --config-dir=DIR"
        )
    return f"{key}: {first}" if key else first


def _unknown_key(key: str, schema: str) -> str:
    allowed = sorted(field.name for field in fields(SCHEMAS[schema])) if schema in SCHEMAS else []
    # The last part of the key: users mistype a word, not the path to it.
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], allowed, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    return f"{key}: no such key; expected one of {', '.join(allowed)}.{meant}"


def refuse_additions(node: Any, place: str = "") -> None:
    """Refuse keys that `+key=value` added to a schema: Hydra takes them, and nothing reads them."""
    # Values end the walk; a missing or null node has no children.
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
    # Not resolved, since interpolations may not be resolvable yet.
    for name, child in node.items_ex(resolve=False):
        if name not in known:
            raise FibsegError(_unknown_key(f"{place}{name!s}", schema.__name__ if schema else ""))
        refuse_additions(child, f"{place}{name!s}.")


def require_values(composed: DictConfig) -> None:
    """Check that every key is known and has a value.

    Raises:
        FibsegError: a key that must be given is not, or no schema knows it.
    """
    # Before missing keys: a misspelled key is often the reason why another one is missing.
    refuse_additions(composed)
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        # Entries of a list have no name on the command line: volumes[0].image is given in YAML.
        how = "in its file, in place of ???" if "[" in missing[0] else f"as in {missing[0]}=..."
        raise FibsegError(f"{missing[0]}: must be given, {how}")


# Hydra writes "Error executing job with overrides" even where it raises the error.
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


def run_with_sentences(main: Callable[[], Any], prepare: Callable[[list[str]], list[str]]) -> int:
    """Call a Hydra main; a user's mistake becomes one sentence on stderr.

    Args:
        main: reads its arguments from `sys.argv`.
        prepare: makes them from those that were typed.

    Returns:
        The exit code.
    """
    # Hydra otherwise prints the error of a job itself, and leaves the program with exit code 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        program, *typed = sys.argv
        sys.argv = [program, *prepare(typed)]
        with sigterm_is_ctrl_c(), redirect_stderr(cast(TextIO, _WithoutHydraLine(sys.stderr))):
            main()
    except FibsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    # 128 plus the number of SIGINT, as shells report it.
    except KeyboardInterrupt as end:
        print("interrupted; the same command goes on where it stopped.", file=sys.stderr)
        return Terminated.exit_code if isinstance(end, Terminated) else 130
    return 0
