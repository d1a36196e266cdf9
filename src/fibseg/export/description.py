"""The description of a bioimage.io package: its tensors, its steps, its files and its authors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fibseg.export.exchanged import OPSET
from fibseg.export.texts import citations, package_name, short_description
from fibseg.models.foreign.onnx_file import INPUT, OUTPUT
from fibseg.models.foreign.running import export_library
from fibseg.models.trained import TrainedModel, training_facts
from fibseg.runs.directory import MODEL_FILE, RunDirectory
from fibseg.runs.identity import read_config

CHECKPOINT_NAME = MODEL_FILE
ONNX_NAME = "model.onnx"
"""Names of both kinds of weights in a package."""


@dataclass(frozen=True)
class Publication:
    """What the run of a package cannot say.

    Attributes:
        authors: names of the people who made the model.
        license: of the package, as SPDX names it; None where it has none yet.
    """

    authors: Sequence[str] = ()
    license: str | None = None


def takes_grey_values(model: TrainedModel) -> bool:
    """Whether a package brings grey values to 8 bits itself.

    With filter channels, which are made of 8 bits, all channels come in 8 bits.
    """
    return not model.channels.areas


def _preprocessing(model: TrainedModel) -> list[dict[str, Any]]:
    """Steps from the grey values of a file to 8 bits, as `fibseg.data.grey.to_8bit` takes them."""
    if not takes_grey_values(model):
        return []
    grey = model.grey_range
    if grey.percentiles is None:
        # In two steps, as our own arithmetic: halves would be rounded to the other side. The format
        # refuses a step that changes nothing.
        steps = [
            {"id": "scale_linear", "kwargs": {"offset": -grey.low}},
            {"id": "scale_linear", "kwargs": {"gain": 255 / (grey.high - grey.low)}},
        ]
        return [step for step in steps if step["kwargs"] not in ({"offset": 0.0}, {"gain": 1.0})]
    low, high = grey.percentiles
    kwargs = {"axes": ["y", "x"], "min_percentile": low, "max_percentile": high}
    return [
        {"id": "scale_range", "kwargs": kwargs},
        {"id": "scale_linear", "kwargs": {"gain": 255.0}},
    ]


def package_description(
    files: Mapping[str, bytes],
    model: TrainedModel,
    run: RunDirectory,
    publication: Publication,
) -> dict[str, Any]:
    """Describe a package, as its YAML holds it; `files` are those in it, by name."""
    spec = export_library("bioimageio.spec.model.v0_5")

    def file(name: str) -> dict[str, str]:
        return {"source": name, "sha256": hashlib.sha256(files[name]).hexdigest()}

    described: dict[str, Any] = {
        "type": "model",
        "format_version": spec.ModelDescr.implemented_format_version,
        "name": package_name(model),
        "description": short_description(model),
        "authors": [{"name": name} for name in publication.authors],
        "cite": citations(model),
        "documentation": file("README.md"),
        "covers": [file("cover.png")],
        "tags": [
            "2d",
            "electron-microscopy",
            "fib-sem",
            "semantic-segmentation",
            "fibseg",
            "pytorch",
        ],
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": [_input(model, file("test_input.npy"))],
        "outputs": [_output(model, file("test_output.npy"))],
        "weights": {"onnx": {**file(ONNX_NAME), "opset_version": OPSET}},
        "attachments": [file(CHECKPOINT_NAME)],
        "config": {
            "bioimageio": {
                "task": "semantic segmentation",
                "modality": "electron microscopy",
                "target_structure": list(model.class_names)[1:],
                "model_parameter_count": sum(
                    weights.numel() for weights in model.network.parameters()
                ),
            },
            "fibseg": {"checkpoint": CHECKPOINT_NAME, **_facts(model, run)},
        },
    }
    if publication.license is not None:
        described["license"] = publication.license
    return described


def _input(model: TrainedModel, test_tensor: dict[str, str]) -> dict[str, Any]:
    """The description of the input: channels of a slice."""
    kind = "in 8 bits" if not takes_grey_values(model) else "as in the file"
    return {
        "id": INPUT,
        "description": f"grey values of a slice {kind}; see README.md",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": model.channels.names},
            *(
                {
                    "type": "space",
                    "id": axis,
                    # Programs refuse what fits no step, and slices may have any side.
                    "size": {"min": least_side(model), "step": 1},
                    **scale,
                }
                for axis, scale in _pixel_sizes(model).items()
            ),
        ],
        "data": {"type": "float32"},
        "test_tensor": test_tensor,
        "preprocessing": _preprocessing(model),
    }


def _output(model: TrainedModel, test_tensor: dict[str, str]) -> dict[str, Any]:
    """The description of the output: probabilities of the classes."""
    return {
        "id": OUTPUT,
        "description": "probability of each class; the class of a pixel is the largest",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": list(model.class_names)},
            *(
                {
                    "type": "space",
                    "id": axis,
                    "size": {"tensor_id": INPUT, "axis_id": axis},
                    "halo": int(model.kind.network_class().halo),
                    **scale,
                }
                for axis, scale in _pixel_sizes(model).items()
            ),
        ],
        "data": {"type": "float32", "range": [0.0, 1.0]},
        "test_tensor": test_tensor,
    }


def least_side(model: TrainedModel) -> int:
    """The least side of a slice, and of a block with its halo.

    The part of a block that is used has two of the deepest activations; from a single one no
    statistics could be taken.
    """
    network = model.kind.network_class()
    return 2 * (int(network.halo) + int(network.stride))


def _pixel_sizes(model: TrainedModel) -> dict[str, dict[str, Any]]:
    """Unit and scale of y and x, where the training had a single pixel size."""
    sizes = {tuple(size[1:]) for size in model.voxel_sizes}
    if len(sizes) != 1:
        return {"y": {}, "x": {}}
    (size,) = sizes
    pairs = zip("yx", size, strict=True)
    return {axis: {"unit": "nanometer", "scale": float(length)} for axis, length in pairs}


def _facts(model: TrainedModel, run: RunDirectory) -> dict[str, Any]:
    """What fibseg says of a model: of its classes, its channels and its training."""
    known = model.training
    # Files of older versions leave it to their run.
    if known is None and run.config.exists():
        known = training_facts((read_config(run) or {}).get("provenance", {}))
    grey = model.grey_range
    decision = model.decision
    facts = {
        "label_values": list(model.label_values),
        "grey_range": [grey.low, grey.high],
        "grey_percentiles": grey.percentiles,
        "filter_areas": list(model.channels.areas),
        "filter_scope": model.channels.scope,
        "context": model.channels.context,
        "windows": model.windows,
        "decision": None if decision is None else decision.described(model.class_names),
        "training": known or {},
        "model_sha256": model.file_sha256,
    }
    # Tuples are lists in JSON, and so in YAML.
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain
