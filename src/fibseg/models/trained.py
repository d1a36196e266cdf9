"""A trained model: its network, all that a prediction must know, and the file of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from fibseg.data.grey import GreyRange, GreySummary
from fibseg.errors import FibsegError
from fibseg.filters.channels import Channels
from fibseg.models.checkpoints import ARRAYS_SUFFIX, load_content, save_arrays
from fibseg.models.entries import check_entries, check_weights
from fibseg.models.features import feature_names
from fibseg.models.forest import ForestNetwork
from fibseg.models.kinds import Kind, create_model, model_kind
from fibseg.models.objects.rules import ObjectRules
from fibseg.models.sizes import check_sizes
from fibseg.models.weight_files import Weights
from fibseg.rules import brief
from fibseg.runs.directory import MODEL_FILE, RunDirectory

if TYPE_CHECKING:
    from fibseg.models.kinds import Model

FORMAT = 10
"""Format of a model's file; a newer one is refused.

Format 2 came with the scope of the filter and the block order of a UNet, 3 with grey ranges of
single slices, 4 with the windows that were chosen for predictions, 5 with what the slices of the
training look like, 6 with the decision, 7 with the usual shift of activations
and the smallest objects, 8 with neighbouring slices as channels, 9 with rules of objects, 10 with
safetensors for networks and with what the training says of itself.
"""


@dataclass(frozen=True)
class Decision:
    """How the class of a pixel is decided: the largest of (score + offset of the class).

    Attributes:
        kind: "argmax" (no offsets), "prior" (offsets of known shares) or "validation" (chosen on
            the validation slices).
        offsets: for each class; that of the background is 0.
        temperature: by which the scores are divided then; it changes probabilities, and no label.
        gain: mean F1 of the classes that the offsets gained on pixels of the validation slices that
            took no part in their choice; None where none were chosen.
        slices: validation slices that were looked at.
        smallest: for each class, pixels of the smallest object that is kept in a slice; pixels of
            smaller ones take the nearest class. Empty or 0 for no limit.
    """

    kind: str
    offsets: Sequence[float]
    temperature: float = 1.0
    gain: float | None = None
    slices: int = 0
    smallest: Sequence[int] = ()

    @property
    def is_plain(self) -> bool:
        """Whether scores stay as they are."""
        return self.temperature == 1 and not any(self.offsets)

    def described(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Give kind, offsets by class and temperature, as scores.json and outputs name them."""
        offsets = dict(zip(class_names, self.offsets, strict=True))
        facts = {"kind": self.kind, "offsets": offsets, "temperature": self.temperature}
        if any(self.smallest):
            facts["smallest"] = dict(zip(class_names, self.smallest, strict=True))
        return facts


@dataclass(frozen=True)
class TrainedModel:
    """All that a prediction needs.

    Attributes:
        network: in evaluation mode, on the host; or a forest, which is used in the same way.
        architecture: name of its kind in `fibseg.models.kinds.KINDS`.
        arguments: what `create_model` made the network from.
        class_names: names of the classes, background first.
        label_values: value of each class in label files.
        channels: what the network sees of a slice.
        grey_range: grey values that become 0 and 255, for the stack or slice by slice.
        voxel_sizes: (z, y, x) in nm of each training volume.
        patch_size: side of a training patch, and of a window of the paper, in pixels.
        precision: "32" or "bf16", of its training.
        windows: how slices are cut by default, and what that costs: kind, size, loss, flipped. None
            before the run is scored, and in files older than format 4.
        grey_percentiles: from which the grey range was computed. This attribute and those below
            are None before the run is scored, and in files older than format 5.
        grey_summary: grey values of the training slices.
        reference: what labels of the training's slices look like, ranges [low, high] over slices:
            shares (class -> share of the pixels), confidence (mean largest probability) and shift
            (of the activations, see `fibseg.prediction.adaptation`); None for a forest.
        decision: what is added to the scores of the classes; None before the run is scored, and in
            files older than format 6: nothing.
        objects: how objects are told apart; None where no class has objects.
        training: hashes and versions of its run, see `training_facts`; None before format 10.
        file_sha256: of the file that it was read from, as `sha256sum` prints it, or of the weights
            in a package; None for a model that comes from no file.
        notes: what a person who predicts by it should know.
    """

    network: Model
    architecture: str
    arguments: dict[str, Any]
    class_names: Sequence[str]
    label_values: Sequence[int]
    channels: Channels
    grey_range: GreyRange
    voxel_sizes: Sequence[Sequence[float]]
    patch_size: int
    precision: str
    windows: dict[str, Any] | None = None
    grey_percentiles: Sequence[float] | None = None
    grey_summary: GreySummary | None = None
    reference: dict[str, Any] | None = None
    decision: Decision | None = None
    objects: ObjectRules | None = None
    training: dict[str, Any] | None = None
    file_sha256: str | None = None
    notes: Sequence[str] = ()

    @property
    def kind(self) -> Kind:
        """What kind of model it is."""
        return model_kind(self.architecture)


_SAME_IN_FILE = (
    "architecture",
    "arguments",
    "class_names",
    "label_values",
    "voxel_sizes",
    "patch_size",
    "precision",
    "windows",
    "grey_percentiles",
    "reference",
    "training",
)
"""Attributes that stand in the file under their own names."""

_IN_FILE = (
    *_SAME_IN_FILE,
    "grey_summary",
    "decision",
    "objects",
    "areas",
    "filter_scope",
    "context",
    "window",
    "weights",
)


def keep_model(model: TrainedModel, run: RunDirectory, weights: Weights | None = None) -> str:
    """Write the model of a run, or other weights for it, and no older one; gives its SHA-256.

    Raises:
        FibsegError: the file cannot be written.
    """
    run.model_file.parent.mkdir(exist_ok=True)
    digest = save_model(model, run.model_file, weights)
    run.remove_older_models()
    return digest


def save_model(model: TrainedModel, path: Path, weights: Weights | None = None) -> str:
    """Write a model as safetensors; gives the SHA-256 of the file, as `sha256sum` prints it.

    Raises:
        FibsegError: the file cannot be written.
    """
    return save_arrays(weights or model.network.state_dict(), model_content(model), path)


def model_content(model: TrainedModel) -> dict[str, Any]:
    """All that a prediction needs beside the weights, as plain values of JSON."""
    content: dict[str, Any] = {"format": FORMAT}
    content |= {name: getattr(model, name) for name in _SAME_IN_FILE}
    content["areas"] = list(model.channels.areas)
    content["filter_scope"] = model.channels.scope
    content["context"] = model.channels.context
    # The key is older than the name; a new one would be a new format.
    content["window"] = astuple(model.grey_range)
    for name in ("grey_summary", "decision", "objects"):
        value = getattr(model, name)
        content[name] = None if value is None else asdict(value)
    if model.kind.compiled:
        # The order of the features is part of a forest: a change must not go unseen.
        content["features"] = feature_names(model.channels.areas)
    return content


def training_facts(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What a model file keeps of the provenance of its run."""
    names = ("config_hash", "data_hash", "start_hash", "versions")
    return {name: provenance[name] for name in names if provenance.get(name) is not None}


def load_model(path: Path) -> TrainedModel:
    """Read what `save_model` wrote, or an older version, which wrote a network as a zip of torch.

    Raises:
        FibsegError: missing, damaged, newer than this program, or not a model of fibseg.
    """
    content, digest = load_content(path)
    return replace(model_from(path, content), file_sha256=digest)


def model_from(path: Path, content: dict[str, Any], network: Model | None = None) -> TrainedModel:
    """Make the model of a file's content; a `network` that is made already replaces the weights.

    Raises:
        FibsegError: as for `load_model`.
    """
    content = _current_format(path, content)
    check_entries(path, content)
    kind = model_kind(content["architecture"])
    # Older versions wrote networks, and no forests, as zips of torch.
    if network is None and kind.compiled and path.suffix != ARRAYS_SUFFIX:
        raise FibsegError(f"{path}: a {content['architecture']} is not kept in such a file.")
    check_sizes(path, kind, content)
    network = _network(path, content) if network is None else network
    if kind.compiled:
        try:
            cast(ForestNetwork, network).check()
        except FibsegError as error:
            raise FibsegError(f"{path}: its weights do not fit its forest ({error}).") from error
    summary = content["grey_summary"]
    decision = content["decision"]
    # JSON has lists alone, and a grey range is a key of dictionaries.
    grey: list[Any] = [tuple(end) if isinstance(end, list) else end for end in content["window"]]
    objects = content["objects"]
    return TrainedModel(
        # As in training, where it is the faster order.
        network=network.eval().to(memory_format=torch.channels_last),
        channels=Channels(tuple(content["areas"]), content["filter_scope"], content["context"]),
        grey_range=GreyRange(*grey),
        grey_summary=None if summary is None else GreySummary(**summary),
        decision=None if decision is None else Decision(**decision),
        objects=None if objects is None else ObjectRules(**objects),
        **{name: content[name] for name in _SAME_IN_FILE},
    )


def _network(path: Path, content: dict[str, Any]) -> Model:
    """Make the network of a file and give it its weights, once these are known to fit."""
    architecture = content["architecture"]
    weights = content["weights"]
    try:
        # Without memory: a file of a few bytes may ask for a network of any size.
        with torch.device("meta"):
            network = create_model(architecture, **content["arguments"])
    # torch refuses impossible arguments by several kinds of exceptions.
    except (FibsegError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise FibsegError(
            f"{path}: no {architecture} can be made of its arguments ({reason})."
        ) from error
    check_weights(path, architecture, network.state_dict(), weights)
    if network.state_dict().keys() >= {name for name, _ in network.named_buffers()}:
        network.to_empty(device="cpu")
    else:
        # Some encoders of timm compute buffers when they are made, and no file holds them.
        network = create_model(architecture, **content["arguments"])
    network.load_state_dict(weights)
    return network


def _current_format(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Complete the content of a file of any format up to FORMAT with what older ones lack."""
    if type(content.get("format")) is not int or content["format"] < 1:
        raise FibsegError(
            f"{path}: a checkpoint, but not of fibseg; expected {MODEL_FILE} of a run directory."
        )
    if content["format"] > FORMAT:
        raise FibsegError(
            f"{path}: format {brief(content['format'])}, but this fibseg reads up to {FORMAT}; "
            "update it."
        )
    # What an older format lacks comes first, so that the file's own values win.
    younger = ("windows", "grey_percentiles", "grey_summary", "reference", "decision", "objects")
    content = {**dict.fromkeys((*younger, "training")), "context": 0, **content}
    if content["format"] == 1:
        content = {"filter_scope": "slice", **content}
    missing = [name for name in _IN_FILE if name not in content]
    if missing:
        raise FibsegError(f"{path}: incomplete checkpoint: no {missing[0]}.")
    if content["format"] == 1 and isinstance(content["arguments"], dict):
        # The only order that there was.
        content["arguments"] = {"block_order": "relu_norm", **content["arguments"]}
    return content
