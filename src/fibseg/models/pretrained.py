"""Weights of timm's networks in the encoders of ours, whose images and channels are others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fibseg.errors import FibsegError
from fibseg.models.efficient_unet import EfficientUNet
from fibseg.models.encoder_unet import EncoderUNet, make_features
from fibseg.models.weight_files import NORMS, Weights, float_shapes

_MOST_DIFFERENT = 0.2
"""Mean difference of the first features, over their deviation, that borders may make."""

_PREFIXES = re.compile(r"^(module\.)?(encoder_q\.|backbone\.|encoder\.)?")
"""What MoCo and parallel trainings put before the names of an encoder's weights."""


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


def load_features(network: EncoderUNet, weights: Weights, encoder: str) -> list[str]:
    """Start the encoder of an EncoderUNet from weights of timm's network of the same name.

    Names may have the prefixes of MoCo; what no encoder has, as a classifier or a projection, is
    left out. Each colour of timm's is the mean of our channels, and their normalisation is worked
    into the first convolution, whose bias is there for it: channels that are all the same grey
    image give the activations of that image in timm's network, except at the borders.

    Returns:
        Sentences on the colours that are assumed, and on what was left out.

    Raises:
        FibsegError: these are weights of another network.
    """
    import timm

    entry = network.entry.removeprefix("encoder.")
    bias = entry.removesuffix("weight") + "bias"
    random_weights = network.encoder.state_dict()
    source_of = _sources(random_weights, weights)
    started = dict(random_weights)
    for name, value in random_weights.items():
        source = source_of[name]
        # Counters keep their start, and the bias where timm's convolution has none.
        if not value.is_floating_point() or (name == bias and source is None):
            continue
        _check_shape(
            name=name,
            expected=value,
            given=None if source is None else weights[source],
            encoder=encoder,
            entry=entry,
        )
        started[name] = weights[str(source)].float()
    kernel = started[entry]  # (outputs, colours, h, w)
    colours = timm.get_pretrained_cfg(encoder)
    mean, deviation = _colours_of(weights, colours, kernel.shape[1])
    kernel = kernel / deviation.view(1, -1, 1, 1)
    channels = random_weights[entry].shape[1]
    started[entry] = kernel.sum(1, keepdim=True).repeat(1, channels, 1, 1) / channels
    started[bias] = started[bias] - (kernel * mean.view(1, -1, 1, 1)).sum((1, 2, 3))
    network.encoder.load_state_dict(started)
    _check_first_features(
        network=network, weights=weights, encoder=encoder, mean=mean, deviation=deviation
    )
    sentences = [
        f"its colours are taken to have mean {_rounded(mean)} and deviation {_rounded(deviation)}"
    ]
    left_out = sorted(float_shapes(weights).keys() - {NORMS, *source_of.values()})
    if left_out:
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        sentences.append(f"weights that the encoder lacks are left out: {left_out[0]}{more}")
    return sentences


def _check_first_features(
    network: EncoderUNet, weights: Weights, encoder: str, mean: Tensor, deviation: Tensor
) -> None:
    """Raise FibsegError where the first features of a grey image are not those of timm's network.

    Some encoders scale their first weights themselves, or have several first convolutions: what was
    worked into one of them then does not give the same features.
    """
    reference = make_features(encoder, len(mean))
    named = _sources(reference.state_dict(), weights)
    known = {name: weights[source] for name, source in named.items() if source is not None}
    reference.load_state_dict(known, strict=False)
    generator = torch.Generator().manual_seed(0)
    grey = torch.rand(1, 1, 8, 8, generator=generator)
    grey = torch.nn.functional.interpolate(grey, (128, 128), mode="bicubic").clamp(0, 1)
    colours = (grey.expand(-1, len(mean), -1, -1) - mean.view(1, -1, 1, 1)) / deviation.view(
        1, -1, 1, 1
    )
    channels = network.state_dict()[network.entry].shape[1]
    was_training = network.training
    with torch.no_grad():
        expected = reference.eval()(colours)[0]
        given = network.encoder.eval()(grey.expand(-1, channels, -1, -1))[0]
    network.train(was_training)
    # In the middle, since zeros around an image are not those around normalised colours.
    height, width = (side // 4 for side in expected.shape[-2:])
    inside = (..., slice(height, -height or None), slice(width, -width or None))
    difference = (given - expected)[inside].abs().mean()
    if not difference <= _MOST_DIFFERENT * expected[inside].std():
        raise FibsegError(
            f"model.weights: '{encoder}' treats its first weights in a way of its own, so that "
            "weights of other colours cannot be used; expected another encoder, or none."
        )


def _sources(random_weights: Weights, weights: Weights) -> dict[str, str | None]:
    """Name in an encoder of features -> name of the same weights in a file; None where it lacks."""
    # Features have the names of the network, with underlines where they lie in a list.
    by_name = {_PREFIXES.sub("", name).replace(".", "_"): name for name in weights}
    return {
        name: by_name.get(name.removeprefix("model.").replace(".", "_")) for name in random_weights
    }


def _check_shape(
    name: str, expected: Tensor, given: Tensor | None, encoder: str, entry: str
) -> None:
    """Raise FibsegError where weights lack or differ in shape; an entry may see 1 or 3 colours."""
    shape = None if given is None else tuple(given.shape)
    shapes = [tuple(expected.shape)]
    if name == entry:
        outputs, _, *kernel = expected.shape
        shapes = [(outputs, colours, *kernel) for colours in (3, 1)]
    if shape not in shapes:
        raise FibsegError(
            f"model.weights: these are no weights of {encoder}: "
            f"{name} is {shape or 'missing'}, expected {shapes[0]}."
        )


def _colours_of(weights: Weights, timm_colours: Any, count: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation, (count,) each, of the colours that weights expect."""
    if NORMS in weights:
        mean, deviation = weights[NORMS]
        return mean.repeat(count), deviation.repeat(count)
    means = torch.tensor(timm_colours.mean)
    deviations = torch.tensor(timm_colours.std)
    if count == len(means):
        return means, deviations
    return means.mean().repeat(count), deviations.mean().repeat(count)


def _rounded(values: Tensor) -> list[float]:
    """Numbers as a sentence gives them."""
    return [round(float(value), 3) for value in values]


def _check_encoder_weights(random_weights: Weights, weights: Weights, encoder: str) -> None:
    """Check that `weights` have the names and shapes of an encoder that sees three colours."""
    expected = float_shapes(random_weights)
    outputs, _, *kernel = expected["conv_stem.weight"]
    expected["conv_stem.weight"] = (outputs, 3, *kernel)
    shapes = float_shapes(weights)
    for name in sorted(expected.keys() | shapes.keys()):
        if expected.get(name) != shapes.get(name) and not name.startswith("classifier."):
            raise FibsegError(
                f"model.weights: these are no weights of {encoder}: "
                f"{name} is {shapes.get(name, 'missing')}, expected {expected.get(name, 'none')}."
            )


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
