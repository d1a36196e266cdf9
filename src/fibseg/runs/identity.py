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
from fibseg.runs.directory import RunDirectory, is_run

PROVENANCE_KEYS = {"config_hash", "data_hash", "threads", "precision", "tracking_id"}
"""What config.yaml must hold of a run's start so that the run can be resumed."""

# docs/ARCHITECTURE.md promises what is in the hash, "A run directory".
_KEYS_WITHOUT_EFFECT = ("name", "seed", "logger", "tracking", "machine", "provenance")
"""Keys of a configuration that change no result; the seed does, but stands beside the hash."""

_CHANGES = (
    *("gain", "offset", "gamma", "noise", "blur"),
    *("coarse", "curtains", "charging", "scale", "elastic"),
)
"""Keys of an augmentation that are 0 where it does nothing."""

_PAPERS_AUGMENTATION = {"name": "paper", "share": 0.0, **dict.fromkeys(_CHANGES, 0.0)}
"""An augmentation that does nothing is left out of a hash: the first runs lack the group."""

_YOUNGER_KEYS: dict[tuple[str, ...], Any] = {
    ("data", "annotated"): None,
    ("data", "context"): 0,
    ("data", "fold"): None,
    ("data", "folds"): None,
    ("data", "guard"): 1,
    ("data", "intensity", "per"): "stack",
    ("data", "phantom", "touching"): 0,
    ("decision",): "argmax",
    ("model", "encoder_rate"): 1.0,
    ("model", "frozen_epochs"): 0,
    ("model", "head"): "none",
    ("model", "head_weight"): 1.0,
    ("smallest",): "none",
    ("training", "ema"): 0.0,
    ("training", "select"): "loss",
}
"""Keys that the first runs lack -> the value as with which they were trained: with it and without
the key, the hash is the same."""

_VOLUME_PATHS = ("image", "labels", "mask", "reviewed", "second_expert", "instances")
"""Paths and places in a volume of a data description; what they give is in the data hash."""


def name_words(name: str) -> list[str]:
    """Words of the name of a configuration; the minus of 1e-4 is no end of a word.

    >>> name_words("unet-on-lr_1e-4")
    ['unet', 'on', 'lr_1e-4']
    """
    return re.split(r"(?<!\de)-", name)


def scientific(config: dict[str, Any], compile_counts: bool = False) -> dict[str, Any]:
    """The part of a resolved configuration that can change a result, without the seed.

    Left out are names, devices, cores and folders of paths. The data hash covers the content of
    files, and the start hash that of the weights from which a run starts. `training.compile` is a
    speed; `compile_counts` takes it for science, as earlier versions did.
    """
    # Every change here changes the hashes of configurations, and runs on disk are found by them.
    kept = {key: value for key, value in config.items() if key not in _KEYS_WITHOUT_EFFECT}
    for (*groups, key), value in _YOUNGER_KEYS.items():
        kept = _without(kept, groups, key, value)
    augmentation = kept.get("augmentation", _PAPERS_AUGMENTATION)
    if not augmentation["share"] or not any(map(augmentation.get, _CHANGES)):
        kept.pop("augmentation", None)
    kept["data"] = _scientific_data(kept["data"])
    if kept.get("init_from"):
        start = Path(kept["init_from"])
        # A run directory, or a checkpoint in it: both name the same start.
        is_checkpoint = start.parent.name == "checkpoints"
        kept["init_from"] = start.parents[1].name if is_checkpoint else start.name
    # The key stays, with the value that nearly all earlier runs were hashed with.
    if not compile_counts and "compile" in kept.get("training", {}):
        kept["training"] = kept["training"] | {"compile": False}
    # Where Ilastik is installed is a fact of the machine, not of the model.
    model = {key: value for key, value in kept["model"].items() if key != "executable"}
    for key in ("weights", "project"):
        if model.get(key):
            model[key] = Path(model[key]).name
    kept["model"] = model
    return kept


def _without(config: dict[str, Any], groups: list[str], key: str, value: Any) -> dict[str, Any]:
    """Leave out a key that has this value, in a group of groups."""
    if groups:
        inner = config.get(groups[0])
        if not isinstance(inner, dict):
            return config
        return config | {groups[0]: _without(inner, groups[1:], key, value)}
    return {name: entry for name, entry in config.items() if (name, entry) != (key, value)}


def _scientific_data(data: dict[str, Any]) -> dict[str, Any]:
    """A data description without the paths of its files."""
    kept = {key: value for key, value in data.items() if key != "root"}
    kept["volumes"] = [
        {key: value for key, value in volume.items() if key not in _VOLUME_PATHS}
        for volume in kept["volumes"]
    ]
    # The first runs know of no objects.
    for name in kept.get("classes", {}):
        kept = _without(kept, ["classes", name], "instances", False)
    return kept


def config_hash(config: dict[str, Any], compile_counts: bool = False) -> str:
    """Hash the scientific configuration (see `scientific`): 8 hexadecimal digits.

    Runs that differ in the seed only share it.
    """
    # Sorted, so that the order of keys in a YAML file plays no part.
    text = json.dumps(scientific(config, compile_counts), sort_keys=True)
    # Eight digits keep names short; a run directory of another configuration is refused all the
    # same, since `check_same` compares the values.
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def fold_facts(config: dict[str, Any]) -> dict[str, Any]:
    """What scores.json says of the fold of a run: its number, how many, and what folds share.

    "folds_hash" is the hash of the configuration without the number of the fold, which the runs of
    all folds and seeds have in common. Nothing without a fold.
    """
    data = config["data"]
    if data.get("fold") is None:
        return {}
    shared = config | {"data": data | {"fold": None}}
    return {"fold": data["fold"], "folds": data["folds"], "folds_hash": config_hash(shared)}


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one with dotted keys; lists stay whole.

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


def changed_keys(
    config: dict[str, Any], defaults: dict[str, Any], compile_counts: bool = False
) -> dict[str, Any]:
    """Scientific keys (see `scientific`) whose values differ from those of another configuration.

    The result is as {"training.epochs": 3}, with the values of `config`. Keys that only `defaults`
    has are not in it.
    """
    nothing = {"augmentation": _PAPERS_AUGMENTATION}
    values = flatten(scientific(config, compile_counts))
    default_values = flatten(nothing | scientific(defaults, compile_counts))
    # A key that is missing differs from any value, None included.
    missing = object()
    return {
        key: value
        for key, value in sorted(values.items())
        if default_values.get(key, missing) != value
    }


def place_of_run(
    folder: Path, config: dict[str, Any], experiment: str | None, defaults: dict[str, Any]
) -> Path:
    """The directory of a run among those of its data set, by its `run_name`.

    A run that an earlier version named after its `training.compile` keeps its directory.
    """
    place = folder / run_name(config, experiment, defaults)
    earlier = [folder / run_name(config, experiment, defaults, compile_counts=True)]
    # It was called experiment=quick until there was a better one.
    if experiment == "quick_v1":
        earlier.append(folder / run_name(config, "quick", defaults))
    kept = [path for path in earlier if is_run(path)]
    return kept[0] if kept and not is_run(place) else place


def run_name(
    config: dict[str, Any],
    experiment: str | None,
    defaults: dict[str, Any],
    compile_counts: bool = False,
) -> str:
    """Name a run by model, filter, augmentation, experiment, changed keys, seed and hash.

    As in unet-off-strong-quick-epochs_9-s0-1a2b3c4d. Only [A-Za-z0-9._-] occur in it. `defaults` is
    the configuration of the same choices (model, filter, experiment) with no key changed;
    `compile_counts` is that of `scientific`.
    """
    # The last part of a key is enough for a reader; the hash tells equal ones apart.
    changes = [
        f"{key.rsplit('.', 1)[-1]}_{_brief(value)}"
        for key, value in changed_keys(config, defaults, compile_counts).items()
    ]
    augmentation = config.get("augmentation", {}).get("name", "paper")
    parts = [
        config["model"]["architecture"],
        config["filter"]["name"],
        *([augmentation] if augmentation != "paper" else []),
        *([experiment] if experiment else []),
        *changes,
    ]
    # File systems allow 255 bytes; the hash tells apart what is cut off.
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts))[:120]
    return f"{readable}-s{config['seed']}-{config_hash(config, compile_counts)}"


def _brief(value: Any) -> str:
    """A value as part of a name: a list as 650x3200."""
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def write_config(run: RunDirectory, config: dict[str, Any]) -> None:
    """Write the resolved configuration and its provenance: hashes, threads, precision, versions."""
    write_whole(run.config, yaml.safe_dump(config, sort_keys=False, width=120))


def read_config(run: RunDirectory) -> dict[str, Any] | None:
    """Read what `write_config` wrote; None in a new directory.

    Raises:
        FibsegError: the file is damaged.
    """
    if not run.config.exists():
        return None
    try:
        config = yaml.safe_load(run.config.read_text(encoding="utf-8"))
        # YAML that is cut off at the end of a line is valid: it only lacks its last keys.
        has_provenance = config["provenance"].keys() >= PROVENANCE_KEYS
        if has_provenance and isinstance(config["data"]["volumes"], list):
            return dict(config)
    # What a cut-off file raises depends on where it ends; all of them get the message below.
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError):
        pass
    raise FibsegError(f"{run.config}: damaged; delete the directory {run.path} to train again.")


def check_same(run: RunDirectory, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Check that a run directory was made with the configuration and the data of now.

    Args:
        run: the directory, for the message.
        old: the configuration in the directory, with its provenance.
        new: the configuration of now, with its provenance.

    Raises:
        FibsegError: they differ; the message names each difference.
    """
    # In both directions, since a key may be missing on either side.
    changes = changed_keys(new, old) | changed_keys(old, new)
    if changes:
        old_values = flatten(scientific(old))
        new_values = flatten(scientific(new))
        differences = "; ".join(
            f"{key} was {old_values.get(key)}, now {new_values.get(key)}" for key in changes
        )
        raise FibsegError(
            f"{run.path}: made with another configuration: {differences}. "
            "Give another name=, or delete it."
        )
    for key, what in (
        ("data_hash", "images or labels"),
        ("neighbours_hash", "neighbouring slices"),
        ("instances_hash", "objects"),
    ):
        old_hash = old["provenance"].get(key)
        new_hash = new["provenance"].get(key)
        if old_hash != new_hash:
            raise FibsegError(
                f"{run.path}: made with other {what} "
                f"({key.replace('_', ' ')} {old_hash}, now {new_hash}). "
                "Give another name=, or delete it."
            )
