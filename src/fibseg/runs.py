"""A run directory: its name, what is in it, and how it is written and read. Needs neither torch nor Lightning.

The contract stands in docs/ARCHITECTURE.md, "A run directory".
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from filelock import FileLock, Timeout

from fibseg.dataset import AnnotatedSlice
from fibseg.description import IntensityDescription
from fibseg.errors import FibsegError, RunTakenError
from fibseg.intensity import intensity_window, to_8bit
from fibseg.scoring import SplitScore
from fibseg.stack import write_pages

SCHEMA = 1
"""Of scores.json; a newer one is refused."""

PROVENANCE = {"config_hash", "data_hash", "threads", "precision", "tracking_id"}
"""What config.yaml must tell of a run's start so that it can be resumed."""

NO_SCIENCE = ("name", "seed", "logger", "tracking", "machine", "provenance")
"""Keys of a configuration that change no result; the seed stands beside the hash."""

SCORED_SPLITS = ("validation", "test")
COMPONENT_COLUMNS = ("split", "volume", "slice", "class", "of", "area", "row", "column", "overlap", "touched")


def scientific(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that can change a result; not the seed, which stands beside it.

    Left out: names, devices, cores, and folders of paths. What is in the files is told by the data hash and, for the
    weights that a run starts from, by the start hash.
    """
    kept = {key: value for key, value in config.items() if key not in NO_SCIENCE}
    data = {key: value for key, value in kept["data"].items() if key != "root"}
    if data.get("intensity", {}).get("per") == "stack":  # younger than the first runs: said or not, it is the same
        data["intensity"] = {key: value for key, value in data["intensity"].items() if key != "per"}
    paths = ("image", "labels", "mask", "second_expert")
    data["volumes"] = [{k: v for k, v in volume.items() if k not in paths} for volume in data["volumes"]]
    if kept.get("init_from"):
        run = Path(kept["init_from"])  # or its checkpoint
        kept["init_from"] = run.parents[1].name if run.parent.name == "checkpoints" else run.name
    files = {key: Path(kept["model"][key]).name for key in ("weights", "project") if kept["model"].get(key)}
    kept["model"] = {key: value for key, value in (kept["model"] | files).items() if key != "executable"}
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
    changes = [f"{key.rsplit('.', 1)[-1]}_{_brief(value)}" for key, value in changed_keys(config, usual).items()]
    parts = [config["model"]["architecture"], config["filter"]["name"], *([experiment] if experiment else []), *changes]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts))[:120]
    return f"{readable}-s{config['seed']}-{config_hash(config)}"


def _brief(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass(frozen=True)
class RunDirectory:
    """Places inside a run directory."""

    path: Path

    config = property(lambda self: self.path / "config.yaml")
    scores = property(lambda self: self.path / "scores.json")
    metrics = property(lambda self: self.path / "metrics.csv")
    components = property(lambda self: self.path / "components.csv")
    error = property(lambda self: self.path / "error.txt")
    log = property(lambda self: self.path / "log.txt")
    figures = property(lambda self: self.path / "figures")
    best = property(lambda self: self.path / "checkpoints" / "best.ckpt")
    forest = property(lambda self: self.path / "checkpoints" / "forest.safetensors")
    last = property(lambda self: self.path / "checkpoints" / "last.ckpt")
    previous = property(lambda self: self.path / "checkpoints" / "previous.ckpt")

    def model(self) -> Path | None:
        """What was trained; None before, and for what keeps no model."""
        return next((path for path in (self.best, self.forest) if path.is_file()), None)

    def labels(self, split: str) -> Path:
        """Predicted class indices of a split, a page per scored slice."""
        return self.path / "labels" / f"{split}.tif"

    def remove_state(self) -> None:
        """Delete what only a resumed training needs; the run is finished."""
        for path in (self.last, self.previous):
            path.unlink(missing_ok=True)

    def is_free(self) -> bool:
        """Whether no process is in this run."""
        try:
            with self.lock() if self.path.exists() else nullcontext():
                return True
        except RunTakenError:
            return False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out; the lock of a killed process is free at once.

        Raises:
            FibsegError: another process is in this run, or the directory cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock", timeout=0)
            lock.acquire()
        except Timeout:
            raise RunTakenError(f"{self.path}: another process is in this run; wait for it, or stop it.") from None
        except OSError as error:
            raise FibsegError(f"{self.path}: the run directory cannot be made ({error}).") from error
        try:
            yield
        finally:
            lock.release()


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_config(run: RunDirectory, config: dict[str, Any]) -> None:
    """The resolved configuration and its provenance (hashes, threads, precision, versions)."""
    write_whole(run.config, yaml.safe_dump(config, sort_keys=False, width=120))


def read_config(run: RunDirectory) -> dict[str, Any] | None:
    """What `write_config` wrote; None in a new directory. FibsegError where it is damaged."""
    if not run.config.exists():
        return None
    try:
        config = yaml.safe_load(run.config.read_text(encoding="utf-8"))
        if config["provenance"].keys() >= PROVENANCE and isinstance(config["data"]["volumes"], list):
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
        raise FibsegError(f"{run.path}: made with another configuration: {shown}. Give another name=, or delete it.")
    was, now_is = old["provenance"]["data_hash"], new["provenance"]["data_hash"]
    if was != now_is:
        raise FibsegError(
            f"{run.path}: made with other images or labels (data hash {was}, now {now_is}). "
            "Give another name=, or delete it."
        )


def require_disk(path: Path, needed: float, purpose: str) -> None:
    """FibsegError if fewer than `needed` bytes are free where `path` is or will be."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise FibsegError(
            f"{existing}: {purpose} needs {needed / 1e9:.3g} GB, but {free / 1e9:.3g} GB are free; make room."
        )


def write_components(run: RunDirectory, scores: dict[str, SplitScore], class_names: Sequence[str]) -> None:
    """components.csv: a row per 2-D component of truth and prediction, in COMPONENT_COLUMNS."""
    partial = run.path / ".components.csv.partial"
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COMPONENT_COLUMNS)
        for split, score in scores.items():
            for place, components in zip(score.slices, score.components, strict=True):
                for one in components:
                    values = {**one, "split": split, **place, "class": class_names[one["class_index"]]}
                    writer.writerow([values[column] for column in COMPONENT_COLUMNS])
    os.replace(partial, run.components)


def write_scores(run: RunDirectory, facts: dict[str, Any], names: Sequence[str], scores: dict[str, SplitScore]) -> None:
    """scores.json, the last file of a run: with it the run is finished."""
    splits = {split: score.slices for split, score in scores.items()}
    content = {"schema": SCHEMA, "run": facts, "classes": list(names), "splits": splits}
    write_whole(run.scores, json.dumps(content) + "\n")


def read_scores(run: RunDirectory) -> dict[str, Any]:
    """scores.json of a finished run; FibsegError where it is missing, damaged or newer than this program."""
    if not run.scores.is_file():
        raise FibsegError(f"{run.path}: no scores.json; the run is not finished.")
    try:
        content = json.loads(run.scores.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise FibsegError(f"{run.scores}: schema {content['schema']}, but this fibseg reads {SCHEMA}.")
        splits, classes = content["splits"], len(content["classes"])
        shapes = {np.array(one["confusion"]).shape for split in SCORED_SPLITS for one in splits[split]}
    except (ValueError, KeyError, TypeError) as error:
        raise FibsegError(f"{run.scores}: damaged ({error}).") from error
    if shapes - {(classes, classes)}:
        raise FibsegError(f"{run.scores}: damaged (counts of shape {shapes} for {classes} classes).")
    return dict(content)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of metrics.csv as numbers; ValueError where one is cut off."""
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        except TypeError as error:
            raise ValueError(f"{path}: a row has too few or too many numbers") from error


def write_truth(folder: Path, slices: dict[str, list[AnnotatedSlice]], names: Sequence[str]) -> None:
    """The scored slices once for all runs of a data set: 8-bit images, class indices, and truth.json beside them.

    Images are shown in a grey window of their own (.1 and 99.9 percentiles of the training slices), whatever the run
    was trained with. truth.json names the classes and gives volume and slice of each page; written last. Runs that end
    at once take turns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if (folder / "truth.json").exists():
            return
        window = intensity_window([one.image for one in slices["train"]], IntensityDescription(0.1, 99.9))
        pages = {split: found for split, found in slices.items() if split != "train" and found}
        for split, found in pages.items():
            write_pages(folder / f"{split}-images.tif", [to_8bit(one.image, window) for one in found])
            write_pages(folder / f"{split}-labels.tif", [one.labels for one in found])
        places = {split: [{"volume": one.volume, "slice": one.z} for one in found] for split, found in pages.items()}
        write_whole(folder / "truth.json", json.dumps({"classes": list(names), "splits": places}) + "\n")


def is_run(path: Path) -> bool:
    """Whether a folder looks like a run directory, finished or not."""
    return any((path / name).exists() for name in ("scores.json", "config.yaml"))


def find_checkpoint(path: Path) -> Path:
    """The checkpoint of a run directory, or the file itself."""
    found = RunDirectory(path).model() if path.is_dir() else path
    if found is None and (path / "ilastik.log").exists():
        raise FibsegError(f"{path}: a run of Ilastik keeps no model; let Ilastik label the stack.")
    if found is None:
        raise FibsegError(f"{path}: no run directory with a trained model (no checkpoints/best.ckpt).")
    return found
