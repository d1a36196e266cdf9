"""The methods paragraph: how the runs were made, from their own configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fibseg.comparison.dataset import Dataset
from fibseg.comparison.manuscript.evaluation import computers, evaluation, listed
from fibseg.comparison.volumes import splits_in
from fibseg.data.folds import MOST_SLICES
from fibseg.data.splits import parse_slices
from fibseg.errors import FibsegError

Config = Mapping[str, Any]
"""Content of config.yaml."""

_NETWORKS = {
    "unet": "a UNet (Ronneberger et al., 2015) of width {width}",
    "eunet": "an EfficientUNet (Meyer et al., 2021) with the encoder {encoder}",
    "encoder_unet": "a UNet with the encoder {encoder}",
    "forest": "a random forest on Ilastik's features",
    "ilastik": "Ilastik's pixel classification (Berg et al., 2019)",
}

_AUGMENTATIONS = {"paper": "turned by multiples of 90 degrees and flipped"}


def methods(dataset: Dataset) -> list[str]:
    """Sentences about data, splits, networks, training and evaluation of the runs of a data set.

    What differs between configurations is given for each of them. What a config.yaml does not say
    is left out; without any config.yaml only the evaluation remains.
    """
    configs = {
        label: config
        for label, runs in dataset.configurations.items()
        if (config := dataset.config(runs[0])) is not None
    }
    trained = {label: of for label, of in configs.items() if label not in dataset.adopted}
    writers = (_grey_values, _filter, _models, _patches, _loss, _optimizer, _decision)
    sentences = [sentence for writer in writers if (sentence := _varied(trained, writer))]
    return [
        *filter(None, [_varied(configs, _data), _adopted(dataset)]),
        *sentences,
        *evaluation(dataset),
        *computers(dataset),
    ]


def split_sizes(config: Config) -> dict[str, int]:
    """Annotated slices of each split, over all volumes.

    Raises:
        KeyError, TypeError, FibsegError: the configuration does not say them.
    """
    sizes = {}
    for split in ("train", "validation", "test"):
        parts = [of_volume.get(split, []) for of_volume in splits_in(config)]
        sizes[split] = sum(len(parse_slices(part, MOST_SLICES, "split")) for part in parts)
    annotated = config["data"].get("annotated")
    return sizes if annotated is None else {**sizes, "train": min(annotated, sizes["train"])}


def _varied(configs: Mapping[str, Config], write: Callable[[Config], str]) -> str:
    """The sentence of all configurations, or each with the configurations that it is true of."""
    groups: dict[str, list[str]] = {}
    for label, config in configs.items():
        try:
            sentence = write(config)
        # Of an earlier version, or of a model that has no such part.
        except (KeyError, TypeError, ValueError, FibsegError):
            sentence = ""
        groups.setdefault(sentence, []).append(label)
    if len(groups) == 1:
        return next(iter(groups))
    return " ".join(f"For {listed(of)}: {text}" for text, of in groups.items() if text)


def _data(config: Config) -> str:
    data = config["data"]
    sizes = split_sizes(config)
    names = [*data["classes"]]
    voxels = {tuple(volume["voxel_size"]) for volume in data["volumes"]}
    size = " or ".join(" x ".join(f"{side:g}" for side in voxel) for voxel in sorted(voxels))
    count = len(data["volumes"])
    volumes = f"{count} volumes" if count > 1 else "one volume"
    return (
        f"The data set {data['name']} has {volumes} with voxels of {size} nm (z, y, x). "
        f"Of the annotated slices, {sizes['train']} were used for training, "
        f"{sizes['validation']} for validation and {sizes['test']} for testing; the classes were "
        f"{listed(names)}, and background.{_fold(data)}"
    )


def _fold(data: Mapping[str, Any]) -> str:
    """What was tested of several folds; nothing without folds."""
    if data.get("fold") is None:
        return ""
    return (
        f" The slices were divided into {data['folds']} folds, of which number {data['fold']} "
        f"(from 0) was tested; slices within {data['guard']} of a tested one were left out."
    )


def _adopted(dataset: Dataset) -> str:
    """Whose labels are another program's; empty without such runs."""
    names = dataset.adopted
    if not names:
        return ""
    count = sum(run.adopted for run in dataset.runs)
    runs = "1 run" if count == 1 else f"{count} runs"
    is_beside = len(names) < len(dataset.configurations)
    rest = "; what follows on trainings is of the other configurations" if is_beside else ""
    return (
        f"The labels of {listed(names)} ({runs}) were made by another program, of whose training "
        f"nothing is recorded{rest}."
    )


def _grey_values(config: Config) -> str:
    intensity = config["data"]["intensity"]
    low = intensity["low"]
    high = intensity["high"]
    source = "of each slice" if intensity.get("per") == "slice" else "of the training slices"
    ends = "minimum and maximum" if (low, high) == (0, 100) else f"percentiles {low:g} and {high:g}"
    return f"Grey values from the {ends} {source} were mapped to 8 bits."


def _filter(config: Config) -> str:
    areas = config["filter"]["areas"]
    if not areas:
        return "The image was the only input channel."
    where = "whole slices" if config["filter"]["scope"] == "slice" else "each patch"
    return (
        f"The image and its grain-filtered versions, with areas of {listed(areas)} pixels, "
        f"computed on {where}, were the input channels."
    )


def _models(config: Config) -> str:
    model = config["model"]
    name = model["architecture"]
    text = _NETWORKS.get(name, name).format_map({key: str(value) for key, value in model.items()})
    dropout = f", with a dropout of {model['dropout']:g}" if model.get("dropout") else ""
    start = config.get("init_from")
    begun = "; it began with the weights of an earlier run" if start else ""
    return f"The model was {text}{dropout}{begun}."


def _patches(config: Config) -> str:
    patches = config["patches"]
    training = config["training"]
    if config["model"]["architecture"] in ("forest", "ilastik"):
        return ""
    side = patches["size"]
    augmentation = config.get("augmentation", {"name": "paper"})["name"]
    changed = _AUGMENTATIONS.get(
        augmentation,
        f"{_AUGMENTATIONS['paper']}, and their grey values and places changed "
        f"(augmentation={augmentation})",
    )
    return (
        f"Each of {training['epochs']} epochs had {training['batches']} batches of "
        f"{training['batch_size']} patches of {side} x {side} pixels; "
        f"{100 * patches['class_share']:g} % of the patches were centred on a pixel of a class "
        f"that was drawn evenly, the others lay at random places. Patches were {changed}."
    )


def _loss(config: Config) -> str:
    if config["model"]["architecture"] in ("forest", "ilastik"):
        return ""
    classes = config["data"]["classes"]
    weights = [f"{name} {entry['weight']:g}" for name, entry in classes.items()]
    weights.append(f"background {config['data']['background']['weight']:g}")
    entropy = config["training"].get("cross_entropy", 0)
    added = f" plus {entropy:g} times the cross-entropy" if entropy else ""
    return f"The loss was the Dice loss, weighted by class ({', '.join(weights)}){added}."


def _optimizer(config: Config) -> str:
    if config["model"]["architecture"] in ("forest", "ilastik"):
        return ""
    training = config["training"]
    first, second = training["betas"]
    schedule = {"constant": "kept constant", "cosine": "lowered to 0 along a cosine"}
    ema = training.get("ema", 0)
    mean = f" Weights were averaged exponentially with a decay of {ema:g} per step." if ema else ""
    chosen = (
        "highest F1 of whole validation slices"
        if training.get("select") == "slices"
        else "lowest validation loss"
    )
    return (
        f"Adam (betas {first:g} and {second:g}, epsilon {training['eps']:g}) had a learning rate "
        f"of {training['learning_rate']:g}, {schedule[training['schedule']]}.{mean} "
        f"The epoch with the {chosen} was kept."
    )


def _decision(config: Config) -> str:
    parts = []
    if config.get("decision") == "validation":
        parts.append(
            "Offsets were added to the class scores that label the validation slices best."
        )
    elif config.get("decision") == "prior":
        parts.append("Offsets from known shares of the classes were added to the class scores.")
    if config.get("smallest") == "validation":
        parts.append(
            "Objects below a size that was chosen for each class on the validation slices took the "
            "class around them."
        )
    return " ".join(parts)
