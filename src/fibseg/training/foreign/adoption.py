"""Labels of another program as a run directory: its configuration, its scores, its components."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from fibseg import machine
from fibseg.arrays import IGNORE, UInt8
from fibseg.data.description import DataDescription, VolumeDescription, class_names
from fibseg.data.grey import grey_range
from fibseg.data.labels.classes import to_classes
from fibseg.data.labels.files import name_doubts, open_label_stack
from fibseg.data.labels.pairing import place_labels, slice_list
from fibseg.data.slices import data_hash, load_slices, neighbours_hash
from fibseg.data.volume import AnnotatedSlice
from fibseg.errors import FibsegError
from fibseg.machine import print_line, print_warnings
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
from fibseg.runs.results import SCORED_SPLITS
from fibseg.stack import located, open_stack
from fibseg.training.evaluation import evaluate, write_results
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
        seconds: of its training and its prediction; None where nobody knows.
        device: on which it was trained; None where nobody knows.
        parameters: numbers of the network; None where nobody knows.
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
    labels = {
        split: [_labels_of(adoption, description, annotated) for annotated in slices[split]]
        for split in SCORED_SPLITS
    }
    _warn_of_names(adoption, description, console)
    names = class_names(description)
    config = _configuration(adoption, description, folder)
    provenance = {
        "config_hash": config_hash(config),
        "data_hash": data_hash(slices, names),
        "neighbours_hash": neighbours_hash(slices),
        "start_hash": _digest(labels),
    }
    directory = RunDirectory(folder / run_name(config, None, config))
    _check_labels_are_new(directory, adoption.model, provenance)
    with directory.lock():
        print_line(console, f"run {directory.path}")
        _begin(directory, config, provenance)
        if directory.scores.exists():
            console.print("adopted already; its scores:")
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


def _facts(adoption: Adoption, config: dict[str, Any]) -> dict[str, Any]:
    """What scores.json says of the run; what nobody knows is left out."""
    known = {
        "seconds": adoption.seconds,
        "device": adoption.device,
        "parameters": adoption.parameters,
        "peak_gib": adoption.peak_gib,
    }
    return {
        "name": config["name"],
        "model": adoption.model,
        "filter": "off",
        "seed": adoption.seed,
        "data": config["data"]["name"],
        "adopted": True,
        **fold_facts(config),
        **{name: value for name, value in known.items() if value is not None},
        "versions": _versions(),
    }


def _versions() -> dict[str, Any]:
    """The version of fibseg, which scored the labels; libraries of the training are not known."""
    return {
        name: value for name, value in machine.versions().items() if name in ("fibseg", "commit")
    }


def _labels_of(
    adoption: Adoption, description: DataDescription, annotated: AnnotatedSlice
) -> UInt8:
    """The adopted labels of a slice as class indices (H, W), IGNORE outside the stack.

    Raises:
        FibsegError: the stack does not hold the slice, or leaves an annotated pixel without class.
    """
    path = adoption.predictions[annotated.volume]
    volume = description.volumes[annotated.volume]
    image = open_stack(located(description.root, volume.image))
    labels = open_label_stack(path)
    offset = _offset(volume, image.shape, labels.shape)
    placement = place_labels(image, labels, offset)
    if annotated.z not in placement.pages:
        raise FibsegError(
            f"{path}: has no labels of slice {annotated.z}, which is scored; it holds slices "
            f"{slice_list(placement.slices)}."
        )
    _, top, left = offset
    _, height, width = labels.shape
    if top + height > image.shape[1] or left + width > image.shape[2]:
        raise FibsegError(
            f"{path}: of shape {labels.shape}, but the image has {image.shape} and its labels "
            f"begin at {offset}; expected labels of one of the two."
        )
    page = placement.pages[annotated.z]
    classes = np.full(image.shape[1:], IGNORE, np.uint8)
    place = (slice(top, top + height), slice(left, left + width))
    classes[place] = to_classes(labels.read(page), description, f"{path}, slice {page}")
    undecided = int(((classes == IGNORE) & (annotated.labels != IGNORE)).sum())
    # They would not be counted, and the score would be that of the easy pixels.
    if undecided:
        raise FibsegError(
            f"{path}, slice {page}: {undecided} annotated pixels without a class (outside, or "
            f"{description.ignore}); a prediction labels every pixel."
        )
    return classes


def _offset(volume: VolumeDescription, image: Sequence[int], labels: Sequence[int]) -> list[int]:
    """Where adopted labels lie: on the whole image, or where the data set's own labels lie."""
    return [0, 0, 0] if tuple(image) == tuple(labels) else list(volume.offset)


def _warn_of_names(adoption: Adoption, description: DataDescription, console: Console) -> None:
    """Warn where a label file calls a value by another name than the data set."""
    names = {entry.label: name for name, entry in description.classes.items()}
    for path in adoption.predictions:
        print_warnings(console, name_doubts(path, names))


def _digest(labels: Mapping[str, Sequence[UInt8]]) -> str:
    """Hash adopted labels, as far as they are scored."""
    digest = hashlib.sha256()
    for split, of_split in labels.items():
        for classes in of_split:
            digest.update(f"{split} {classes.shape}".encode())
            digest.update(classes.tobytes())
    return digest.hexdigest()[:16]
