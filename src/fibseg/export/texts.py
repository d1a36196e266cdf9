"""What a reader of a package is told: its name, its description, its README, whom to cite."""

from __future__ import annotations

import re
from contextlib import suppress

from fibseg.errors import FibsegError
from fibseg.models.trained import TrainedModel
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import read_scores

_UNET = {
    "text": "Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, "
    "MICCAI 2015",
    "doi": "10.1007/978-3-319-24574-4_28",
}
_EFFICIENT_NET = {
    "text": "Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, "
    "ICML 2019",
    "url": "https://arxiv.org/abs/1905.11946",
}
_TIMM = {"text": "Wightman, PyTorch Image Models", "doi": "10.5281/zenodo.4414861"}

_LONGEST_NAME = 64

_NETWORKS = {
    "unet": "UNet",
    "eunet": "EfficientUNet",
    "encoder_unet": "UNet with the encoder {encoder}",
}


def package_name(model: TrainedModel) -> str:
    """Name a package, in the letters that bioimage.io allows."""
    classes = " ".join(list(model.class_names)[1:])
    name = re.sub(r"[^A-Za-z0-9_+\- ()]+", " ", f"{_network_name(model)} FIB-SEM {classes}")
    return name[:_LONGEST_NAME].strip()


def short_description(model: TrainedModel) -> str:
    """Describe a package in a sentence."""
    classes = ", ".join(list(model.class_names)[1:])
    network = _network_name(model)
    article = "an" if network[0] in "AEIO" else "a"
    return f"Semantic segmentation of FIB-SEM slices by {article} {network}: {classes}."


def _network_name(model: TrainedModel) -> str:
    name = _NETWORKS.get(model.architecture, model.architecture)
    return name.format_map({key: str(value) for key, value in model.arguments.items()})


def citations(model: TrainedModel) -> list[dict[str, str]]:
    """List what the networks were published in."""
    if model.architecture == "unet":
        return [_UNET]
    return [_UNET, _EFFICIENT_NET if model.architecture == "eunet" else _TIMM]


def readme(model: TrainedModel, run: RunDirectory, license_name: str | None) -> str:
    """Write the README of a package."""
    parts = [
        f"# {package_name(model)}",
        f"{short_description(model)} It was trained with fibseg after Meyer et al., *Automatic "
        "multi class organelle segmentation for cellular FIB-SEM images*, ISBI 2021.",
        "## Input",
        _input_text(model),
        _blocks_text(model),
        "## Output",
        _output_text(model),
    ]
    table = _scores_table(run)
    if table:
        parts += ["## Scores", "F1 of each class, the mean over the slices that hold it.", table]
    parts += [
        "## Use",
        "fibseg labels whole stacks with the package, and finds grey values and channels itself:",
        "    fibseg predict checkpoint=PACKAGE.zip image=STACK output=labels.tif",
        "The cover picture and the test input show a slice of the validation data of the training, "
        "or a synthetic cell where that was not at hand.",
        f"Licence: {license_name or 'none is stated yet'}.",
    ]
    return "\n\n".join(parts) + "\n"


def _input_text(model: TrainedModel) -> str:
    grey = model.grey_range
    if grey.percentiles is None:
        scaling = f"{grey.low:g} becomes 0 and {grey.high:g} becomes 255"
    else:
        low, high = grey.percentiles
        scaling = f"in every slice its percentile {low:g} becomes 0 and its percentile {high:g} 255"
    names = ", ".join(model.channels.names)
    sizes = "; ".join(" x ".join(f"{side:g}" for side in size) for size in model.voxel_sizes)
    text = f"Channels: {names}. Voxels of the training (z, y, x): {sizes} nm. "
    if not model.channels.areas:
        return f"{text}Grey values are those of the file; the package scales them: {scaling}."
    return (
        f"{text}All channels are in 8 bits, 0 to 255, and the package does not scale them: in the "
        f"image, {scaling}. `grain A` is the image without grains of fewer than A pixels, as "
        "`fibseg filter IMAGE OUTPUT --area A` makes it of the image in 8 bits."
    )


def _blocks_text(model: TrainedModel) -> str:
    network = model.kind.network_class()
    halo = f"with a halo of {network.halo} pixels on each side"
    if model.kind.exact_tiles:
        return (
            f"Slices may be cut into blocks {halo}. Blocks that start at multiples of "
            f"{network.stride} pixels get the labels of the whole slice. Programs that mirror a "
            "slice by the halo at its border may label the outer pixels otherwise than fibseg."
        )
    return (
        "Show whole slices to this network: squeeze-and-excitation averages over all that it is "
        f"shown, so that blocks get other labels, even {halo}."
    )


def _output_text(model: TrainedModel) -> str:
    pairs = zip(model.class_names, model.label_values, strict=True)
    classes = ", ".join(f"{name} (label value {value})" for name, value in pairs)
    text = f"Probabilities of the classes {classes}. The class of a pixel is the largest one."
    decision = model.decision
    if decision is None or not any(decision.smallest):
        return text
    limits = zip(model.class_names, decision.smallest, strict=True)
    sizes = ", ".join(f"{name} {size}" for name, size in limits if size)
    return (
        f"{text} fibseg gives objects of a slice with fewer pixels than these to the nearest "
        f"class; the package alone does not: {sizes}."
    )


def _scores_table(run: RunDirectory) -> str:
    """A table of the scores of a run; empty where there are none."""
    with suppress(FibsegError):
        scores = read_scores(run)
        validation = scores.f1("validation")
        test = scores.f1("test")
        rows = [f"| {name} | {validation[name]:.3f} | {test[name]:.3f} |" for name in validation]
        return "\n".join(["| class | validation | test |", "|---|---|---|", *rows])
    return ""
