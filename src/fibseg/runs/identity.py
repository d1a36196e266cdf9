"""What makes two runs the same: the scientific configuration, its hash, the name of a run."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from fibseg.errors import FibsegError
from fibseg.files import write_whole
from fibseg.runs.directory import RunDirectory

PROVENANCE = {"config_hash", "data_hash", "threads", "precision", "tracking_id"}
"""What config.yaml must tell of a run's start so that it can be resumed."""

NO_SCIENCE = ("name", "seed", "logger", "tracking", "machine", "provenance")
"""Keys of a configuration that change no result; the seed stands beside the hash."""


def scientific(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that can change a result; not the seed, which stands beside it.

    Left out: names, devices, cores, and folders of paths. What is in the files is told by the data hash and, for the
    weights that a run starts from, by the start hash.
    """
    kept = {key: value for key, value in config.items() if key not in NO_SCIENCE}
    data = {key: value for key, value in kept["data"].items() if key != "root"}
    if (
        data.get("intensity", {}).get("per") == "stack"
    ):  # younger than the first runs: said or not, it is the same
        data["intensity"] = {key: value for key, value in data["intensity"].items() if key != "per"}
    paths = ("image", "labels", "mask", "second_expert")
    data["volumes"] = [
        {k: v for k, v in volume.items() if k not in paths} for volume in data["volumes"]
    ]
    if kept.get("init_from"):
        run = Path(kept["init_from"])  # or its checkpoint
        kept["init_from"] = run.parents[1].name if run.parent.name == "checkpoints" else run.name
    files = {
        key: Path(kept["model"][key]).name
        for key in ("weights", "project")
        if kept["model"].get(key)
    }
    kept["model"] = {
        key: value for key, value in (kept["model"] | files).items() if key != "executable"
    }
    return kept | {"data": data}


def config_hash(config: dict[str, Any]) -> str:
    """8 hexadecimal digits of the scientific configuration; runs that differ in the seed only share it."""
    text = json.dumps(scientific(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings -> {"training.epochs": 100}; lists stay whole.

    >>> flatten({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def changed_keys(config: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """Scientific keys whose values differ from the usual ones: {"training.epochs": 3}."""
    ours, theirs = flatten(scientific(config)), flatten(scientific(usual))
    return {key: value for key, value in sorted(ours.items()) if theirs.get(key, object()) != value}


def run_name(config: dict[str, Any], experiment: str | None, usual: dict[str, Any]) -> str:
    """`<model>-<filter>[-<experiment>][-<changed keys>]-s<seed>-<hash>` in [A-Za-z0-9._-].

    `usual` is the configuration of the same choices with no key changed.
    """
    changes = [
        f"{key.rsplit('.', 1)[-1]}_{_brief(value)}"
        for key, value in changed_keys(config, usual).items()
    ]
    parts = [
        config["model"]["architecture"],
        config["filter"]["name"],
        *([experiment] if experiment else []),
        *changes,
    ]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts))[:120]
    return f"{readable}-s{config['seed']}-{config_hash(config)}"


def _brief(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def write_config(run: RunDirectory, config: dict[str, Any]) -> None:
    """The resolved configuration and its provenance (hashes, threads, precision, versions)."""
    write_whole(run.config, yaml.safe_dump(config, sort_keys=False, width=120))


def read_config(run: RunDirectory) -> dict[str, Any] | None:
    """What `write_config` wrote; None in a new directory. FibsegError where it is damaged."""
    if not run.config.exists():
        return None
    try:
        config = yaml.safe_load(run.config.read_text(encoding="utf-8"))
        if config["provenance"].keys() >= PROVENANCE and isinstance(
            config["data"]["volumes"], list
        ):
            return dict(config)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError):
        pass
    raise FibsegError(f"{run.config}: damaged; delete the directory {run.path} to train again.")


def check_same(run: RunDirectory, old: dict[str, Any], new: dict[str, Any]) -> None:
    """FibsegError, with the difference, if a run directory was made with another configuration or other data."""
    changes = changed_keys(new, old) | changed_keys(old, new)
    if changes:
        before, now = flatten(scientific(old)), flatten(scientific(new))
        shown = "; ".join(f"{key} was {before.get(key)}, now {now.get(key)}" for key in changes)
        raise FibsegError(
            f"{run.path}: made with another configuration: {shown}. Give another name=, or delete it."
        )
    was, now_is = old["provenance"]["data_hash"], new["provenance"]["data_hash"]
    if was != now_is:
        raise FibsegError(
            f"{run.path}: made with other images or labels (data hash {was}, now {now_is}). "
            "Give another name=, or delete it."
        )
