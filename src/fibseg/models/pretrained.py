"""ImageNet weights for the encoder of an EfficientUNet: from timm, or from a file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from fibseg.errors import FibsegError
from fibseg.models.checkpoints import require_stored
from fibseg.models.efficient_unet import EfficientUNet

Weights = dict[str, Tensor]
"""A state dict: tensors by name."""


def imagenet_weights(encoder: str) -> Weights:
    """Get the ImageNet weights of an encoder from timm, from its cache or by download.

    Raises:
        FibsegError: they are not in the cache and cannot be downloaded.
    """
    import timm

    try:
        weights: Weights = timm.create_model(encoder, pretrained=True).state_dict()
    # The hub, the network and the disk raise many kinds of exceptions.
    except Exception as error:
        raise FibsegError(
            f"model.pretrained: the weights of {encoder} cannot be had ({_first_line(error)}); "
            "give a file by model.weights=FILE, or model.pretrained=false."
        ) from error
    return weights


def read_weights(path: Path) -> Weights:
    """Read tensors by name from a safetensors file, or from a state dict that torch saved.

    Whatever else the file holds is left out, and no code in it is run.

    Raises:
        FibsegError: the file is missing, damaged, or neither of the two.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Files of older versions of torch are no zips.
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                require_stored(path, archive)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise FibsegError(f"model.weights: {path} does not exist.") from error
    except FibsegError:
        raise
    # torch, pickle and safetensors raise many kinds of exceptions on bytes that they did not write.
    except Exception as error:
        raise FibsegError(
            f"model.weights: {path} is no file of weights, or a damaged one ({_first_line(error)})."
        ) from error
    if not isinstance(content, dict):
        raise FibsegError(
            f"model.weights: {path} holds a {type(content).__name__}, expected a state dict."
        )
    return {str(name): value for name, value in content.items() if torch.is_tensor(value)}


def _first_line(error: Exception) -> str:
    """Give the first line of an exception, or its class where it says nothing."""
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def load_encoder(network: EfficientUNet, weights: Weights, encoder: str) -> list[str]:
    """Start the encoder from timm's EfficientNet of the same name; the classifier is left out.

    timm's network sees three colours, less a mean and over a deviation, and its batch norms have
    another epsilon than ours, which sees grey values in [0, 1]. All of it is worked into the
    weights, so that both give the same activations in evaluation mode, except at the borders: the
    zeros around our image are not those around a normalised one. A single channel becomes all three
    colours; other numbers of channels are adapted as timm does it, by repeating and scaling.

    Returns:
        A sentence on the colours that are assumed: those of timm's default weights.

    Raises:
        FibsegError: these are weights of another network.
    """
    import timm

    random_weights = network.encoder.state_dict()
    _check_encoder_weights(random_weights, weights, encoder)
    started = {
        # Counters, which are no floats, keep their start.
        name: weights[name].float() if value.is_floating_point() else value
        for name, value in random_weights.items()
    }
    # timm sets this attribute after construction, so its class does not declare it.
    colours: Any = network.encoder.pretrained_cfg
    channels = random_weights["conv_stem.weight"].shape[1]
    _fold_colours(started, channels, colours["mean"], colours["std"])
    with torch.device("meta"):
        reference = timm.create_model(encoder)
    _fold_epsilons(started, network.encoder, reference)
    network.encoder.load_state_dict(started)
    if isinstance(network.to_three, torch.nn.Conv2d):
        # Each of the three is the grey channel itself.
        torch.nn.init.ones_(network.to_three.weight)
    return [
        f"its colours are taken to have mean {list(colours['mean'])} "
        f"and deviation {list(colours['std'])}"
    ]


def _check_encoder_weights(random_weights: Weights, weights: Weights, encoder: str) -> None:
    """Check that `weights` have the names and shapes of an encoder that sees three colours."""
    expected = _float_shapes(random_weights)
    outputs, _, *kernel = expected["conv_stem.weight"]
    expected["conv_stem.weight"] = (outputs, 3, *kernel)
    shapes = _float_shapes(weights)
    for name in sorted(expected.keys() | shapes.keys()):
        if expected.get(name) != shapes.get(name) and not name.startswith("classifier."):
            raise FibsegError(
                f"model.weights: these are no weights of {encoder}: "
                f"{name} is {shapes.get(name, 'missing')}, expected {expected.get(name, 'none')}."
            )


def _float_shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
    """Give the shapes of the floating-point tensors."""
    return {
        name: tuple(value.shape) for name, value in weights.items() if value.is_floating_point()
    }


def _fold_colours(
    weights: Weights, channels: int, mean: Sequence[float], deviation: Sequence[float]
) -> None:
    """Work the normalisation of colours into the first convolution and its batch norm, in place."""
    from timm.models import adapt_input_conv

    # W (x - m) / d = (W / d) x - sum of (W / d) m; the batch norm takes its running mean off, so
    # the sum is added to that.
    colour_shape = (1, 3, 1, 1)
    kernel = weights["conv_stem.weight"] / torch.tensor(deviation).view(colour_shape)
    kernel = adapt_input_conv(channels, kernel)
    # timm repeats the three colours until there are enough channels.
    repeats = -(-channels // 3)
    means = torch.tensor(mean).view(colour_shape).repeat(1, repeats, 1, 1)[:, :channels]
    weights["conv_stem.weight"] = kernel
    weights["bn1.running_mean"] = weights["bn1.running_mean"] + (kernel * means).sum((1, 2, 3))


def _fold_epsilons(weights: Weights, encoder: torch.nn.Module, reference: torch.nn.Module) -> None:
    """Scale the batch norms' weights in place, so that our epsilon gives what timm's gave."""
    epsilons = {
        name: norm.eps
        for name, norm in reference.named_modules()
        if isinstance(norm, torch.nn.BatchNorm2d)
    }
    for name, norm in encoder.named_modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            variance = weights[f"{name}.running_var"]
            ratio = (variance + norm.eps) / (variance + epsilons[name])
            weights[f"{name}.weight"] = weights[f"{name}.weight"] * ratio.sqrt()
