"""Where a network starts instead of at random: ImageNet weights for an encoder, or an earlier run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import adapt_input_conv
from torch import Tensor

from fibseg.checkpoint import TrainedModel, load_whole
from fibseg.errors import FibsegError
from fibseg.models import EfficientUNet

Weights = dict[str, Tensor]

FREE_ARGUMENTS = {"channels", "classes", "dropout", "drop_path", "norm_momentum", "norm_eps"}
"""Arguments of a network in which a run may differ from the one it starts from."""


def imagenet_weights(encoder: str) -> Weights:
    """ImageNet weights of an encoder, as timm has them, from its cache or by download.

    Raises:
        FibsegError: neither can be had.
    """
    try:
        weights: Weights = timm.create_model(encoder, pretrained=True).state_dict()
    except Exception as error:  # hub, network and disk raise many kinds
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise FibsegError(
            f"model.pretrained: the weights of {encoder} cannot be had ({reason}); give a file by model.weights=FILE, "
            "or model.pretrained=false."
        ) from error
    return weights


def read_weights(path: Path) -> Weights:
    """Tensors by name from a safetensors file or a state dict saved by torch; nothing else is read from it.

    Raises:
        FibsegError: missing, damaged, or neither of the two.
    """
    if not path.is_file():
        raise FibsegError(f"model.weights: {path} does not exist.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise FibsegError(f"model.weights: {path} is no whole safetensors file ({error}).") from error
    content = load_whole(path)
    return {str(name): value for name, value in content.items() if torch.is_tensor(value)}


def load_encoder(network: EfficientUNet, weights: Weights, encoder: str) -> None:
    """Start the encoder from a timm EfficientNet of the same name; the classifier is left out.

    ImageNet pictures have three colours, less a mean and over a deviation; ours are grey and in [0, 1]. Both are worked
    into the first convolution and the batch norm after it. Grey becomes all three colours; other numbers of channels
    are adapted as timm does it, by repeating and scaling.

    Raises:
        FibsegError: weights of another network.
    """
    own, stem, norm = network.encoder.state_dict(), "conv_stem.weight", "bn1.running_mean"
    shapes = {name: tuple(value.shape) for name, value in own.items() if value.is_floating_point()}
    shapes[stem] = (shapes[stem][0], 3, *shapes[stem][2:])
    theirs = {name: tuple(value.shape) for name, value in weights.items() if value.is_floating_point()}
    wrong = [name for name in sorted(shapes.keys() | theirs.keys()) if shapes.get(name) != theirs.get(name)]
    wrong = [name for name in wrong if not name.startswith("classifier.")]
    if wrong:
        name = wrong[0]
        raise FibsegError(
            f"model.weights: these are no weights of {encoder}: {name} is {theirs.get(name, 'missing')}, "
            f"expected {shapes.get(name, 'none')}."
        )
    found = {name: weights[name].float() if name in shapes else value for name, value in own.items()}
    facts: Any = network.encoder.pretrained_cfg  # timm sets it after construction
    mean, deviation = torch.tensor(facts["mean"]).view(1, 3, 1, 1), torch.tensor(facts["std"]).view(1, 3, 1, 1)
    found[norm] = found[norm] + (found[stem] * mean / deviation).sum((1, 2, 3))
    found[stem] = adapt_input_conv(own[stem].shape[1], found[stem] / deviation)
    network.encoder.load_state_dict(found)
    if isinstance(network.to_three, torch.nn.Conv2d):
        torch.nn.init.ones_(network.to_three.weight)


def start_from(model: TrainedModel, source: TrainedModel) -> list[str]:
    """Start a model from an earlier run's weights; classes match by name, channels by the area of their filter.

    What the earlier run cannot give keeps its random start.

    Returns:
        One sentence for each class or channel that is new, or that the earlier run had and this one has not.

    Raises:
        FibsegError: the earlier run's network is another one.
    """
    ours, theirs = ({"architecture": m.architecture, **m.arguments} for m in (model, source))
    for key in sorted(ours.keys() - FREE_ARGUMENTS):
        if ours[key] != theirs.get(key):
            raise FibsegError(
                f"init_from: that run has model.{key}={theirs.get(key)}, this one {ours[key]}; they must be the same."
            )
    weights, own = dict(source.network.state_dict()), model.network.state_dict()
    for part in ("head.weight", "head.bias"):
        weights[part] = _matched(own[part], model.class_names, weights[part], source.class_names)
    channels, had = (["image", *(f"grain {area}" for area in m.areas)] for m in (model, source))
    if channels != had:
        _match_channels(model.network.entry, weights, own, channels, had)
    model.network.load_state_dict(weights)
    kinds = (("class", model.class_names, source.class_names), ("channel", channels, had))
    return [
        line
        for kind, now, then in kinds
        for line in (
            *(f"{kind} {name} is new: its weights start at random" for name in now if name not in then),
            *(f"{kind} {name} of that run is left out" for name in then if name not in now),
        )
    ]


def _matched(own: Tensor, names: Sequence[str], theirs: Tensor, their_names: Sequence[str]) -> Tensor:
    """Rows of `own` (len(names), ...) replaced by those of the same name in `theirs`."""
    result, places = own.clone(), {name: row for row, name in enumerate(their_names)}
    for row, name in enumerate(names):
        if name in places:
            result[row] = theirs[places[name]]
    return result


def _match_channels(entry: str, weights: Weights, own: Weights, ours: list[str], theirs: list[str]) -> None:
    """Fit the first convolution in place; an EfficientUNet's 1x1 convolution from one channel is worked into it."""
    kernel = weights[entry]
    if "to_three.weight" in weights:  # (3, 1, 1, 1)
        to_three, bias = weights.pop("to_three.weight"), weights.pop("to_three.bias")
        norm = "encoder.bn1.running_mean"
        weights[norm] = weights[norm] - (kernel * bias.view(1, 3, 1, 1)).sum((1, 2, 3))
        kernel = (kernel * to_three.view(1, 3, 1, 1)).sum(1, keepdim=True)
    if "to_three.weight" in own:
        weights["to_three.weight"], weights["to_three.bias"] = torch.ones(3, 1, 1, 1), torch.zeros(3)
        weights[entry] = kernel[:, :1].repeat(1, 3, 1, 1) / 3  # the image's, seen three times
    else:
        weights[entry] = _matched(own[entry].transpose(0, 1), ours, kernel.transpose(0, 1), theirs).transpose(0, 1)
