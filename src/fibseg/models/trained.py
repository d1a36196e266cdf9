"""Checkpoints: tensors and built-in types, written whole or not at all, read without unpickling code."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.files import replacing
from fibseg.models.features import feature_names
from fibseg.models.forest import ForestNetwork
from fibseg.models.kinds import Model, create_model

FORMAT = 4
"""Of a model checkpoint; a newer one is refused. 2 came with the filter's scope and the order of a UNet's blocks, 3
with grey windows of every slice, 4 with how a slice is cut for a prediction."""


def save_whole(content: dict[str, Any], path: Path) -> None:
    """torch.save that leaves either the old file or the whole new one, through a kill or a full disk.

    It stages beside the target, never in TMPDIR, which may be another file system.
    """
    _write_whole(path, lambda file: torch.save(content, file))


def _write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    try:
        with replacing(path, durable=True) as partial, partial.open("wb") as file:
            write(file)
    except (OSError, RuntimeError) as error:
        raise FibsegError(
            f"{path}: the checkpoint could not be written ({error}); is the disk full?"
        ) from error


def load_whole(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the host's memory; every byte is checked against its checksum.

    Raises:
        FibsegError: missing, damaged, or holding anything but tensors and built-in types.
    """
    if not path.is_file():
        raise FibsegError(f"{path}: no such checkpoint.")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise FibsegError(f"{path}: damaged checkpoint: {damaged} does not fit its checksum.")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FibsegError:
        raise
    except (
        Exception
    ) as error:  # zipfile and torch raise many kinds on bytes that are none of theirs
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise FibsegError(
            f"{path}: no checkpoint of fibseg, or a damaged one ({reason})."
        ) from error
    if not isinstance(content, dict):
        raise FibsegError(f"{path}: no checkpoint of fibseg: it holds a {type(content).__name__}.")
    return content


def _check_sizes(path: Path, content: dict[str, Any]) -> None:
    """FibsegError where lists do not fit each other, or a forest's arrays, before any memory is taken for them."""
    arguments, count = content["arguments"], len(content["class_names"])
    fits = isinstance(arguments, dict) and len(content["label_values"]) == count == arguments.get(
        "classes"
    )
    if fits and content["architecture"] == "forest":
        try:
            fits = arguments == ForestNetwork.sizes(content["weights"])
        except (KeyError, ValueError, AttributeError):
            fits = False
    if not fits:
        raise FibsegError(
            f"{path}: damaged: its classes, arguments and arrays do not fit each other."
        )


FOREST = "fibseg"
"""Under which name the metadata of a forest's file hold, as JSON, what stands in a checkpoint beside the weights."""


def _load_forest(path: Path) -> dict[str, Any]:
    """A file of safetensors as a checkpoint's content; FibsegError as in `load_whole`."""
    if not path.is_file():
        raise FibsegError(f"{path}: no such checkpoint.")
    try:
        with safe_open(path, "pt") as file:
            content = json.loads((file.metadata() or {})[FOREST])
            return dict(content) | {
                "weights": {name: file.get_tensor(name) for name in file.keys()}
            }  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise FibsegError(f"{path}: no forest of fibseg, or a damaged one ({error}).") from error


def is_whole(path: Path) -> bool:
    """Whether `load_whole` would succeed."""
    try:
        load_whole(path)
    except FibsegError:
        return False
    return True


@dataclass(frozen=True)
class TrainedModel:
    """All that a prediction needs.

    Attributes:
        network: in evaluation mode, on the host; or a forest, which is used in the same way.
        architecture, arguments: what `create_model` made it from.
        class_names: background first.
        label_values: value of each class in label files.
        areas: of the grain filter in pixels; the network has 1 + len(areas) channels.
        filter_scope: "slice" or "patch": what is filtered.
        window: grey values that become 0 and 255, for the stack or slice by slice.
        voxel_sizes: (z, y, x) in nm of each training volume.
        patch_size: side of a training patch, and of a window, in pixels.
        precision: "32" or "bf16", of its training.
        windows: how slices are cut unless a person says so, and what that was found to cost: kind, size, loss, flipped;
            None before the run was scored, and in files older than format 4.
    """

    network: Model
    architecture: str
    arguments: dict[str, Any]
    class_names: Sequence[str]
    label_values: Sequence[int]
    areas: Sequence[int]
    filter_scope: str
    window: GreyRange
    voxel_sizes: Sequence[Sequence[float]]
    patch_size: int
    precision: str
    windows: dict[str, Any] | None = None


_PLAIN = (
    "architecture",
    "arguments",
    "class_names",
    "label_values",
    "areas",
    "filter_scope",
    "window",
    "voxel_sizes",
    "patch_size",
    "precision",
    "windows",
)


def save_model(model: TrainedModel, path: Path) -> None:
    """Write the weights and what is needed to use them: a forest as safetensors, networks as a zip of torch."""
    plain = {name: getattr(model, name) for name in _PLAIN}
    plain["window"] = astuple(model.window)
    content, weights = {"format": FORMAT, **plain}, model.network.state_dict()
    if isinstance(model.network, ForestNetwork):
        content["features"] = feature_names(model.areas)
        _write_whole(path, lambda file: file.write(save(weights, {FOREST: json.dumps(content)})))
    else:
        save_whole({**content, "weights": weights}, path)


def load_model(path: Path) -> TrainedModel:
    """Read what `save_model` wrote, or raise FibsegError with the reason."""
    content = _load_forest(path) if path.suffix == ".safetensors" else load_whole(path)
    if not isinstance(content.get("format"), int):
        raise FibsegError(
            f"{path}: a checkpoint, but not of fibseg; expected best.ckpt of a run directory."
        )
    if content["format"] > FORMAT:
        raise FibsegError(
            f"{path}: format {content['format']}, but this fibseg reads up to {FORMAT}; update it."
        )
    if content["format"] == 1:
        content.setdefault("filter_scope", "slice")
    content.setdefault("windows", None)
    missing = [name for name in (*_PLAIN, "weights") if name not in content]
    if missing:
        raise FibsegError(f"{path}: incomplete checkpoint: no {missing[0]}.")
    if content["format"] == 1:
        content["arguments"].setdefault("block_order", "relu_norm")
    if (path.suffix == ".safetensors") != (content["architecture"] == "forest"):
        raise FibsegError(f"{path}: a {content['architecture']} is not kept in such a file.")
    _check_sizes(path, content)
    channels, areas = content["arguments"].get("channels"), content["areas"]
    if channels != 1 + len(areas):
        raise FibsegError(
            f"{path}: a network of {channels} channels, but filter areas {list(areas)} make {1 + len(areas)}."
        )
    if content["architecture"] == "forest" and content.get("features") != feature_names(areas):
        raise FibsegError(
            f"{path}: its features are not those that this fibseg computes; train the forest again."
        )
    content["window"] = GreyRange(*content["window"])
    network = create_model(content["architecture"], **content["arguments"])
    try:
        network.load_state_dict(content["weights"])
        if isinstance(network, ForestNetwork):
            network.check()
    except (RuntimeError, TypeError, FibsegError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise FibsegError(
            f"{path}: its weights do not fit its {content['architecture']} ({reason})."
        ) from error
    network = network.eval().to(memory_format=torch.channels_last)
    return TrainedModel(network=network, **{name: content[name] for name in _PLAIN})
