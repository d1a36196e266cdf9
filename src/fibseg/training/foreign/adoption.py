"""Labels of another program as a run directory: its configuration, its scores, its components."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from fibseg import machine
from fibseg.data.description import DataDescription, class_names
from fibseg.data.grey import grey_range
from fibseg.data.slices import data_hash, load_slices, neighbours_hash
from fibseg.errors import FibsegError
from fibseg.files import write_whole
from fibseg.machine import print_line
from fibseg.models.kinds import KINDS
from fibseg.rules import Check, Rule, number, require, whole
from fibseg.runs.directory import RunDirectory
from fibseg.runs.identity import (
    check_same,
    config_hash,
    fold_facts,
    read_config,
    run_name,
    write_config,
)
from fibseg.runs.results import read_scores
from fibseg.training.evaluation import evaluate, write_results
from fibseg.training.foreign.labels import adopted_labels, scored_digest, warn_of_names
from fibseg.training.pictures import Scene, draw_pictures
from fibseg.training.report import print_scores

_MODEL_NAME = Rule(
    lambda name: name.replace("_", "a").isalnum() and name.isascii() and name not in KINDS,
    f"letters, digits and _, and none of {', '.join(KINDS)}, which fibseg trains",
)


@dataclass(frozen=True)
class Adoption:
    """What is adopted, and what the labels do not say of themselves.

    Attributes:
        predictions: label stacks, one for each volume of the data set.
        model: name of the model that made them, as comparisons print it.
        seed: of its training.
        seconds: of training and scoring a run, as a person states them; None where nobody knows.
        device: on which it was trained; None where nobody knows.
        parameters: number of parameters of the network; None where nobody knows.
        peak_gib: largest memory of its training in GiB; None where nobody knows.
    """

    predictions: Sequence[str]
    model: str
    seed: int
    seconds: float | None = None
    device: str | None = None
    parameters: int | None = None
    peak_gib: float | None = None


def _check(adoption: Adoption, description: DataDescription) -> None:
    """Check what a person gave, before anything is read."""
    require(
        Check("--model", adoption.model, _MODEL_NAME),
        Check("--seed", adoption.seed, whole(0, 2**31 - 1)),
    )
    if adoption.seconds is not None:
        require(Check("--seconds", adoption.seconds, number(0, 1e9)))
    if adoption.parameters is not None:
        require(Check("--parameters", adoption.parameters, whole(1, 10**15)))
    if adoption.peak_gib is not None:
        require(Check("--memory", adoption.peak_gib, number(0, 1e6)))
    if len(adoption.predictions) != len(description.volumes):
        raise FibsegError(
            f"{len(adoption.predictions)} label stacks for {len(description.volumes)} volumes of "
            f"{description.name}; give one for each, in their order."
        )


def adopt_labels(
    adoption: Adoption, description: DataDescription, folder: Path, console: Console
) -> RunDirectory:
    """Score label stacks as a run of a data set, or report the run that they are already.

    Args:
        adoption: what is adopted.
        description: of the data set.
        folder: of the runs of the data set.
        console: takes what a person reads.

    Raises:
        FibsegError: a name is impossible, the stacks do not fit the data set, the run has other
            labels, or another seed of the model has the same ones.
    """
    _check(adoption, description)
    slices = load_slices(description)
    labels = adopted_labels(adoption.predictions, description, slices)
    warn_of_names(adoption.predictions, description, console)
    names = class_names(description)
    config = _configuration(adoption, description, folder)
    provenance = {
        "config_hash": config_hash(config),
        "data_hash": data_hash(slices, names),
        "neighbours_hash": neighbours_hash(slices),
        "start_hash": scored_digest(labels),
    }
    directory = RunDirectory(folder / run_name(config, None, config))
    _check_labels_are_new(directory, adoption.model, provenance)
    with directory.lock():
        print_line(console, f"run {directory.path}")
        _begin(directory, config, provenance)
        if directory.scores.exists():
            _restate(directory, adoption, console)
        else:
            scores = evaluate(
                directory=directory,
                description=description,
                slices=slices,
                class_names=names,
                label=lambda split, _: (labels[split], None),
            )
            facts = _facts(adoption, config) | provenance
            write_results(directory, facts, names, scores)
        if directory.lacking_pictures():
            training_images = [annotated.grey_values for annotated in slices["train"]]
            grey = grey_range(training_images, description.intensity)
            data = provenance["data_hash"] or ""
            draw_pictures(
                Scene(directory, slices, data, grey_range=grey, class_names=names), console
            )
        print_scores(directory, console)
    return directory


def _check_labels_are_new(
    directory: RunDirectory, model: str, provenance: Mapping[str, Any]
) -> None:
    """Refuse labels that another run of the model has: they would count as a second training."""
    for path in sorted(directory.path.parent.glob(f"{model}-*")):
        earlier = None
        # A damaged run is in no comparison.
        with suppress(FibsegError):
            earlier = read_config(RunDirectory(path))
        if earlier is None or path == directory.path:
            continue
        if (earlier.get("model") or {}).get("architecture") == model and all(
            earlier["provenance"].get(name) == provenance[name]
            for name in ("data_hash", "start_hash")
        ):
            raise FibsegError(
                f"the same labels as {path}, of seed {earlier.get('seed')}; expected those of "
                "another training."
            )


def _begin(directory: RunDirectory, config: dict[str, Any], provenance: Mapping[str, Any]) -> None:
    """Write config.yaml, or compare with the one that is there."""
    earlier = read_config(directory)
    if earlier is None:
        # What resumes a training is not known of another program.
        unknown = dict.fromkeys(("threads", "precision", "tracking_id"))
        whole_provenance = {**provenance, **unknown, "versions": _versions()}
        write_config(directory, config | {"provenance": whole_provenance})
        return
    check_same(directory, earlier, config | {"provenance": provenance})
    if earlier["provenance"].get("start_hash") != provenance["start_hash"]:
        raise FibsegError(
            f"{directory.path}: was made of other labels; give another --seed or --model, or "
            "delete it."
        )


def _configuration(
    adoption: Adoption, description: DataDescription, folder: Path
) -> dict[str, Any]:
    """What config.yaml holds of a run whose training is not known."""
    return {
        "name": folder.name,
        "seed": adoption.seed,
        "data": asdict(description),
        "filter": {"name": "off", "areas": [], "scope": "slice"},
        "model": {"architecture": adoption.model},
    }


def _stated(adoption: Adoption) -> dict[str, Any]:
    """What a person states of the training; what nobody knows is left out."""
    facts = {
        "seconds": adoption.seconds,
        "device": adoption.device,
        "parameters": adoption.parameters,
        "peak_gib": adoption.peak_gib,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _restate(directory: RunDirectory, adoption: Adoption, console: Console) -> None:
    """Bring a finished run up to what is stated now, and say what changed."""
    # Checked before it is changed: a damaged file is reported, and not mended by half.
    facts = read_scores(directory).facts
    changes = {name: value for name, value in _stated(adoption).items() if facts.get(name) != value}
    if changes:
        content = json.loads(directory.scores.read_text(encoding="utf-8"))
        content["run"] |= changes
        write_whole(directory.scores, json.dumps(content) + "\n")
    texts = [
        f"; {name}: {value}" + (f" in place of {facts[name]}" if name in facts else "")
        for name, value in changes.items()
    ]
    print_line(console, f"adopted already{''.join(texts)}; its scores:")


def _facts(adoption: Adoption, config: dict[str, Any]) -> dict[str, Any]:
    """What scores.json says of the run."""
    return {
        "name": config["name"],
        "model": adoption.model,
        "filter": "off",
        "seed": adoption.seed,
        "data": config["data"]["name"],
        "adopted": True,
        **fold_facts(config),
        **_stated(adoption),
        "versions": _versions(),
    }


def _versions() -> dict[str, Any]:
    """The version of fibseg, which scored the labels; libraries of the training are not known."""
    return {
        name: value for name, value in machine.versions().items() if name in ("fibseg", "commit")
    }
