"""The outputs that a user asks for: which files, and what is noted in each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fibseg.config.schemas import PredictConfig
from fibseg.errors import FibsegError
from fibseg.machine import arithmetic
from fibseg.models.trained import TrainedModel
from fibseg.prediction.adaptation import Adaptation
from fibseg.prediction.labeller import DISAGREEMENT, Labeller
from fibseg.prediction.output.outputs import Output
from fibseg.prediction.slices import label_table
from fibseg.rules import file_name_part
from fibseg.stack import picture_folder


def outputs_of(config: PredictConfig, labeller: Labeller, adaptation: Adaptation) -> list[Output]:
    """List the files to write: labels, then layers.

    Probabilities are channels of one OME-Zarr, or TIFFs with the class in their names.

    Raises:
        FibsegError: two of them are one file.
    """
    model: TrainedModel = labeller.models[0]
    # The values of the training's label files, so that a prediction reads like an annotation.
    values = label_table(model.label_values)
    pairs = zip(values.tolist(), model.class_names, strict=True)
    classes = {str(value): name for value, name in pairs}
    # Labels depend on how slices were cut, so the file says it, and what that cost.
    notes = {
        "windows": str(labeller.windows),
        "measured": model.windows,
        "decision": [
            None if member.decision is None else member.decision.described(member.class_names)
            for member in labeller.models
        ],
        "arithmetic": arithmetic(labeller.compute.device, labeller.compute.precision),
        "adapted": adaptation.described(),
        "model_sha256": [member.file_sha256 for member in labeller.models],
    }
    labels = Path(config.output)
    of_labels = notes | {"classes": classes} | _source(labels, config)
    outputs = [Output(labels, str(values.dtype), of_labels)]
    if config.probabilities is not None:
        outputs += _probabilities(Path(config.probabilities), model.class_names, notes)
    if config.disagreement is not None:
        held = notes | {"holds": DISAGREEMENT, "times": 255}
        outputs.append(Output(Path(config.disagreement), "uint8", held))
    rules = labeller.objects
    if rules is not None:
        objects = Path(config.instances or "")
        kept = notes | {"holds": "objects", "objects": asdict(rules)}
        kept |= _source(objects, config)
        outputs.append(Output(objects, "uint32", kept, rules))
    paths = [output.path.absolute() for output in outputs]
    if len(set(paths)) < len(paths):
        raise FibsegError(
            "output, probabilities, disagreement and instances: two of them are one file; "
            "give each its own name."
        )
    return [replace(output, ome_zarr=config.zarr) for output in outputs]


def _probabilities(path: Path, names: Sequence[str], notes: dict[str, Any]) -> list[Output]:
    """List the files of the probabilities of classes."""
    if path.suffix.lower() == ".zarr":
        held = notes | {"holds": "probabilities", "times": 255}
        return [Output(path, "uint8", held, channels=tuple(names))]
    # A TIFF has no axis for them.
    return [
        Output(
            path.with_stem(f"{path.stem}-{file_name_part(name)}"),
            "uint8",
            notes | {"holds": name, "times": 255},
        )
        for name in names
    ]


def _source(labels: Path, config: PredictConfig) -> dict[str, str]:
    """Note which picture labels are of, if it is OME-Zarr of their version: one has no other."""
    picture = picture_folder(config.image)
    if picture is None or labels.suffix.lower() != ".zarr":
        return {}
    image_version = "0.5" if (picture / "zarr.json").is_file() else "0.4"
    return {"source": os.path.relpath(picture, labels)} if image_version == config.zarr else {}
