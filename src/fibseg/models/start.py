"""Weights that a network starts from in place of random ones: ImageNet's, or an earlier run's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fibseg.errors import FibsegError
from fibseg.models.trained import TrainedModel
from fibseg.models.weight_files import Weights

FREE_ARGUMENTS = {
    *("channels", "classes", "maps"),
    *("dropout", "drop_path", "norm_momentum", "norm_eps"),
}
"""Arguments of a network in which a run may differ from the one that it starts from."""


@dataclass(frozen=True)
class Start:
    """Weights that were read for a network to start from: of an encoder, or of an earlier run.

    Attributes:
        where: the file, run or collection they come from, for people.
        encoder: weights of a network of timm; None where an earlier run is given.
        run: the model of an earlier run; None where an encoder is given.
    """

    where: str
    encoder: Weights | None = None
    run: TrainedModel | None = None

    def identity(self) -> str:
        """Hash the weights alone, wherever they come from, to 16 hexadecimal digits."""
        weights = self.encoder if self.run is None else self.run.network.state_dict()
        digest = hashlib.sha256()
        # Sorted, since files of the same weights may list them in any order.
        for name, value in sorted((weights or {}).items()):
            # Bytes and not NumPy values, because NumPy has no bfloat16.
            raw = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
            digest.update(name.encode() + raw.numpy().tobytes())
        return digest.hexdigest()[:16]

    def apply(self, model: TrainedModel) -> list[str]:
        """Put the weights into a model's network; gives a sentence for all that is adapted."""
        if self.run is not None:
            return start_from(model, self.run)
        assert self.encoder is not None
        return model.kind.start_encoder(model.network, self.encoder, model.arguments["encoder"])


def start_from(model: TrainedModel, source: TrainedModel) -> list[str]:
    """Start a model from an earlier run's weights, and keep random ones for what that run lacks.

    Classes are matched by name, channels by the area of their filter.

    Args:
        model: to start; its network is changed.
        source: the earlier run's model.

    Returns:
        A sentence for each class or channel that is new or left out, and each setting that changes.

    Raises:
        FibsegError: the earlier run's network is another one.
    """
    _check_same_network(model, source)
    random_weights = model.network.state_dict()
    weights = dict(source.network.state_dict())
    if "head.weight" not in weights:
        raise FibsegError(
            f"init_from: a {source.architecture} has no layer called head, so no other run can "
            "start from it."
        )
    # The head has a row for each class.
    for name in ("head.weight", "head.bias"):
        weights[name] = _rows_by_name(
            random_weights[name], model.class_names, weights[name], source.class_names
        )
    _fit_maps(weights, random_weights, model, source)
    if model.channels.names != source.channels.names:
        _fit_first_convolution(weights, random_weights, model, source)
    model.network.load_state_dict(weights)
    return (
        _changed_settings(model, source)
        + _changed_names("class", model.class_names, source.class_names)
        + _changed_names("channel", model.channels.names, source.channels.names)
    )


def _check_same_network(model: TrainedModel, source: TrainedModel) -> None:
    """Check that two networks differ in FREE_ARGUMENTS alone."""
    arguments = {"architecture": model.architecture, **model.arguments}
    source_arguments = {"architecture": source.architecture, **source.arguments}
    for key in sorted(arguments.keys() - FREE_ARGUMENTS):
        if arguments[key] != source_arguments.get(key):
            raise FibsegError(
                f"init_from: that run has model.{key}={source_arguments.get(key)}, "
                f"this one {arguments[key]}; they must be the same."
            )


def _changed_settings(model: TrainedModel, source: TrainedModel) -> list[str]:
    """Write a sentence for each setting that is not that of the earlier run."""
    shared = model.arguments.keys() & FREE_ARGUMENTS - {"channels", "classes", "maps"}
    changes = [
        f"model.{key} was {source.arguments[key]}, is {model.arguments[key]}"
        for key in sorted(shared)
        if model.arguments[key] != source.arguments[key]
    ]
    scopes = {trained.channels.scope for trained in (model, source) if trained.channels.areas}
    if len(scopes) > 1:
        changes.append(f"filter.scope was {source.channels.scope}, is {model.channels.scope}")
    return changes


def _changed_names(kind: str, names: Sequence[str], source_names: Sequence[str]) -> list[str]:
    """Write a sentence for each class or channel that one of two runs has alone."""
    new = [name for name in names if name not in source_names]
    left_out = [name for name in source_names if name not in names]
    return [
        *(f"{kind} {name} is new: its weights start at random" for name in new),
        *(f"{kind} {name} of that run is left out" for name in left_out),
    ]


def _rows_by_name(
    rows: Tensor, names: Sequence[str], source_rows: Tensor, source_names: Sequence[str]
) -> Tensor:
    """Copy `rows` (len(names), ...), with those of `source_rows` that have the same name."""
    # What the earlier run does not have keeps its random start.
    result = rows.clone()
    source_row = {name: row for row, name in enumerate(source_names)}
    for row, name in enumerate(names):
        if name in source_row:
            result[row] = source_rows[source_row[name]]
    return result


def _fit_maps(
    weights: Weights, random_weights: Weights, model: TrainedModel, source: TrainedModel
) -> None:
    """Fit the layer of the maps of objects, in `weights`, to the new model; another head is new."""
    names = [] if model.objects is None else list(model.objects.classes)
    rules = source.objects
    same = model.objects and rules and model.objects.head == rules.head
    source_names = list(rules.classes) if same and rules is not None else []
    for name in ("maps.weight", "maps.bias"):
        earlier = weights.pop(name, None)
        if name not in random_weights:
            continue
        rows = random_weights[name]
        weights[name] = (
            rows if earlier is None else _rows_by_name(rows, names, earlier, source_names)
        )


def _fit_first_convolution(
    weights: Weights, random_weights: Weights, model: TrainedModel, source: TrainedModel
) -> None:
    """Fit the earlier run's first convolution, in `weights`, to the channels of the new model."""
    entry = str(model.network.entry)
    kernel = weights[entry]  # (outputs, channels, h, w)
    # An EfficientUNet of one channel makes three of it first. That is a linear map, and worked into
    # the convolution that follows: its bias into the running mean that the batch norm takes off.
    if "to_three.weight" in weights:
        to_three = weights.pop("to_three.weight")  # (3, 1, 1, 1)
        bias = weights.pop("to_three.bias")  # (3,)
        mean = "encoder.bn1.running_mean"
        weights[mean] = weights[mean] - (kernel * bias.view(1, 3, 1, 1)).sum((1, 2, 3))
        kernel = (kernel * to_three.view(1, 3, 1, 1)).sum(1, keepdim=True)
    if "to_three.weight" in random_weights:
        weights["to_three.weight"] = torch.ones(3, 1, 1, 1)
        weights["to_three.bias"] = torch.zeros(3)
        # The convolution sees the image three times, and adds up a third of each.
        weights[entry] = kernel[:, :1].repeat(1, 3, 1, 1) / 3
        return
    names = model.channels.names
    source_names = source.channels.names
    weights[entry] = _by_channel(random_weights[entry], names, kernel, source_names)
    skip = getattr(model.network, "image_skip", None)
    if skip is not None:
        image, rest = weights[skip].tensor_split([len(source_names)], dim=1)
        random_image = random_weights[skip][:, : len(names)]
        weights[skip] = torch.cat([_by_channel(random_image, names, image, source_names), rest], 1)


def _by_channel(
    kernel: Tensor, names: Sequence[str], source_kernel: Tensor, source_names: Sequence[str]
) -> Tensor:
    """Copy a kernel (outputs, len(names), h, w), with the channels that have the same name."""
    # Transposed, so that the first axis counts channels.
    rows = _rows_by_name(kernel.transpose(0, 1), names, source_kernel.transpose(0, 1), source_names)
    return rows.transpose(0, 1)
