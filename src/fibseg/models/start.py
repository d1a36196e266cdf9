"""Where a network starts instead of at random: ImageNet weights for an encoder, or an earlier run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from fibseg.errors import FibsegError
from fibseg.models.efficient_unet import EfficientUNet
from fibseg.models.trained import TrainedModel

Weights = dict[str, Tensor]

FREE_ARGUMENTS = {"channels", "classes", "dropout", "drop_path", "norm_momentum", "norm_eps"}
"""Arguments of a network in which a run may differ from the one it starts from."""


@dataclass(frozen=True)
class Start:
    """Weights that were read for a network to start from.

    Attributes:
        where: file, run or collection, for people.
        encoder: of a timm EfficientNet, or None.
        run: an earlier run's model, or None.
    """

    where: str
    encoder: Weights | None = None
    run: TrainedModel | None = None

    def identity(self) -> str:
        """16 hexadecimal digits of the weights themselves."""
        weights = self.encoder if self.run is None else self.run.network.state_dict()
        digest = hashlib.sha256()
        for name, value in sorted((weights or {}).items()):
            digest.update(
                name.encode()
                + value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
        return digest.hexdigest()[:16]

    def apply(self, model: TrainedModel) -> list[str]:
        """Put the weights into a model's network; gives a sentence for all that is adapted."""
        if self.run is not None:
            return start_from(model, self.run)
        assert self.encoder is not None
        assert isinstance(model.network, EfficientUNet)
        return load_encoder(model.network, self.encoder, model.arguments["encoder"])


def imagenet_weights(encoder: str) -> Weights:
    """ImageNet weights of an encoder, as timm has them, from its cache or by download.

    Raises:
        FibsegError: neither can be had.
    """
    import timm

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
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise FibsegError(f"model.weights: {path} does not exist.") from error
    except (
        Exception
    ) as error:  # torch, pickle and safetensors raise many kinds on bytes that are none of theirs
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise FibsegError(
            f"model.weights: {path} is no whole file of weights ({reason})."
        ) from error
    if not isinstance(content, dict):
        raise FibsegError(
            f"model.weights: {path} holds a {type(content).__name__}, expected a state dict."
        )
    return {str(name): value for name, value in content.items() if torch.is_tensor(value)}


def load_encoder(network: EfficientUNet, weights: Weights, encoder: str) -> list[str]:
    """Start the encoder from timm's EfficientNet of the same name; the classifier is left out.

    timm's network sees three colours less a mean and over a deviation, ours grey in [0, 1], and another epsilon in its
    batch norms. All of it is worked into weights, so that both give the same activations in evaluation mode, but at
    the borders. One channel becomes all three colours; other numbers of channels are adapted as timm does it, by
    repeating and scaling.

    Returns:
        A sentence on the colours that are assumed: those of timm's default weights for this encoder.

    Raises:
        FibsegError: weights of another network.
    """
    import timm
    from timm.models import adapt_input_conv

    own, stem = network.encoder.state_dict(), "conv_stem.weight"
    shapes = {name: tuple(value.shape) for name, value in own.items() if value.is_floating_point()}
    shapes[stem] = (shapes[stem][0], 3, *shapes[stem][2:])
    theirs = {
        name: tuple(value.shape) for name, value in weights.items() if value.is_floating_point()
    }
    wrong = [
        name
        for name in sorted(shapes.keys() | theirs.keys())
        if shapes.get(name) != theirs.get(name)
    ]
    wrong = [name for name in wrong if not name.startswith("classifier.")]
    if wrong:
        name = wrong[0]
        raise FibsegError(
            f"model.weights: these are no weights of {encoder}: {name} is {theirs.get(name, 'missing')}, "
            f"expected {shapes.get(name, 'none')}."
        )
    found = {
        name: weights[name].float() if name in shapes else value for name, value in own.items()
    }
    facts: Any = network.encoder.pretrained_cfg  # timm sets it after construction
    mean, deviation = (
        torch.tensor(facts["mean"]).view(1, 3, 1, 1),
        torch.tensor(facts["std"]).view(1, 3, 1, 1),
    )
    channels = own[stem].shape[1]  # three for one channel, which a 1x1 convolution makes of it
    found[stem] = adapt_input_conv(channels, found[stem] / deviation)
    means = mean.repeat(1, -(-channels // 3), 1, 1)[:, :channels]
    found["bn1.running_mean"] = found["bn1.running_mean"] + (found[stem] * means).sum((1, 2, 3))
    with torch.device("meta"):
        reference = timm.create_model(encoder)
    eps = {
        name: norm.eps
        for name, norm in reference.named_modules()
        if isinstance(norm, torch.nn.BatchNorm2d)
    }
    for name, norm in network.encoder.named_modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            variance = found[f"{name}.running_var"]
            found[f"{name}.weight"] = (
                found[f"{name}.weight"] * ((variance + norm.eps) / (variance + eps[name])).sqrt()
            )
    network.encoder.load_state_dict(found)
    if isinstance(network.to_three, torch.nn.Conv2d):
        torch.nn.init.ones_(network.to_three.weight)
    return [
        f"its colours are taken to have mean {list(facts['mean'])} and deviation {list(facts['std'])}"
    ]


def start_from(model: TrainedModel, source: TrainedModel) -> list[str]:
    """Start a model from an earlier run's weights; classes match by name, channels by the area of their filter.

    What the earlier run cannot give keeps its random start.

    Returns:
        One sentence for each class or channel that is new or left out, and each setting that changes.

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
    channels, had = model.channels.names, source.channels.names
    if channels != had:
        _match_channels(str(model.network.entry), weights, own, channels, had)
    model.network.load_state_dict(weights)
    shared = ours.keys() & FREE_ARGUMENTS - {"channels", "classes"}
    changes = [
        f"model.{key} was {theirs[key]}, is {ours[key]}"
        for key in sorted(shared)
        if ours[key] != theirs[key]
    ]
    scopes = {side.channels.scope for side in (model, source) if side.channels.areas}
    if len(scopes) > 1:
        changes.append(f"filter.scope was {source.channels.scope}, is {model.channels.scope}")
    kinds = (("class", model.class_names, source.class_names), ("channel", channels, had))
    return changes + [
        line
        for kind, now, then in kinds
        for line in (
            *(
                f"{kind} {name} is new: its weights start at random"
                for name in now
                if name not in then
            ),
            *(f"{kind} {name} of that run is left out" for name in then if name not in now),
        )
    ]


def _matched(
    own: Tensor, names: Sequence[str], theirs: Tensor, their_names: Sequence[str]
) -> Tensor:
    """Rows of `own` (len(names), ...) replaced by those of the same name in `theirs`."""
    result, places = own.clone(), {name: row for row, name in enumerate(their_names)}
    for row, name in enumerate(names):
        if name in places:
            result[row] = theirs[places[name]]
    return result


def _match_channels(
    entry: str, weights: Weights, own: Weights, ours: list[str], theirs: list[str]
) -> None:
    """Fit the first convolution in place; an EfficientUNet's 1x1 convolution from one channel is worked into it."""
    kernel = weights[entry]
    if "to_three.weight" in weights:  # (3, 1, 1, 1)
        to_three, bias = weights.pop("to_three.weight"), weights.pop("to_three.bias")
        norm = "encoder.bn1.running_mean"
        weights[norm] = weights[norm] - (kernel * bias.view(1, 3, 1, 1)).sum((1, 2, 3))
        kernel = (kernel * to_three.view(1, 3, 1, 1)).sum(1, keepdim=True)
    if "to_three.weight" in own:
        weights["to_three.weight"], weights["to_three.bias"] = (
            torch.ones(3, 1, 1, 1),
            torch.zeros(3),
        )
        weights[entry] = kernel[:, :1].repeat(1, 3, 1, 1) / 3  # the image's, seen three times
    else:
        weights[entry] = _matched(
            own[entry].transpose(0, 1), ours, kernel.transpose(0, 1), theirs
        ).transpose(0, 1)
