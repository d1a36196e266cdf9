"""What the output of another program's network means: which channels are classes, and how."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fibseg.arrays import Floats
from fibseg.errors import FibsegError
from fibseg.models.foreign.running import Floats32
from fibseg.models.foreign.steps import Package
from fibseg.rules import brief

_BACKGROUND = "background"
_FOREGROUND = "foreground"

_NO_CLASSES = ("denois", "restor", "reconstruct", "super-resol", "superresol", "deconvol", "deblur")
"""In tags of models that give images."""

_BOUNDARY = r"boundar|border|edge|contour|outline"
_FIELDS = r"dist|offset|affinit|flow|gradient|vector|embed|cent(er|re)"
_FIELD_WORDS = r"(dist|distances?|offsets?|affinit(y|ies)|flows?|gradients?|vectors?|embeddings?)"
"""In names of maps that are no class, though their values may lie in 0 to 1."""

_MAPS = rf"{_BOUNDARY}|inside|interior|{_FIELDS}"
"""In names of maps that do not exclude each other."""

_NUMBERED = r"(channel|class|label|c|ch)?[ _-]?\d+"
"""Names that say nothing."""

_MOST_CLASSES = 255
"""Labels have 8 bits, of which one value stands for no class."""


@dataclass(frozen=True)
class Meaning:
    """How probabilities of classes come from an output.

    Attributes:
        class_names: background first.
        channels: channel of each class; None for the class that is the rest of the others.
        factor: by which the output is multiplied.
        logits: whether it holds logits, of classes that exclude each other.
        notes: what a person should know of it.
    """

    class_names: list[str]
    channels: list[int | None]
    factor: float = 1.0
    logits: bool = False
    notes: tuple[str, ...] = ()

    def probabilities(self, scores: Floats32) -> Floats32:
        """Turn scores (1, C, H, W) into probabilities (1, K, H, W) of all classes."""
        # Logits of the largest and smallest networks overflow nothing in double precision.
        values: Floats = scores.astype(np.float64) * self.factor
        if self.logits:
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        named = values[:, [channel for channel in self.channels if channel is not None]]
        rest = (1 - named.sum(axis=1, keepdims=True)).clip(min=0)
        parts = iter(np.split(named, named.shape[1], axis=1))
        ordered = [rest if channel is None else next(parts) for channel in self.channels]
        return np.concatenate(ordered, axis=1).astype(np.float32)


def meaning_of(package: Package, test_scores: Floats32) -> Meaning:
    """Read the meaning of an output from its description and the test output (N, C, H, W).

    Raises:
        FibsegError: it gives no probabilities of classes that exclude each other.
    """
    _check_tags(package)
    count = test_scores.shape[1]
    names = _channel_names(package.output, count)
    factor = _factor(package.output)
    values = test_scores * factor
    within = bool(((values >= -1e-4) & (values <= 1 + 1e-4)).all())
    if count > _MOST_CLASSES:
        raise FibsegError(f"{package.path}: has {count} classes; expected at most {_MOST_CLASSES}.")
    if count == 1:
        if not within:
            raise FibsegError(
                f"{package.path}: its only channel leaves 0 to 1, and is no probability of a "
                "class; where it has 8 bits, its description must say so (data.range: [0, 255])."
            )
        if any(re.fullmatch(_FIELD_WORDS, word) for word in re.findall("[a-z]+", names[0].lower())):
            raise FibsegError(
                f"{package.path}: its only channel ({brief(names[0])}) is no probability of a "
                "class, by its name."
            )
        return _single(names[0], factor)
    pair = within and _is_pair_with_boundaries(package, names)
    adds_up = bool(np.allclose(values.sum(axis=1), 1, atol=1e-3))
    has_background = _BACKGROUND in map(str.lower, names)
    of_maps = any(re.search(_MAPS, name.lower()) for name in names)
    if within and adds_up and (has_background or not of_maps):
        return _several(names, factor, logits=False)
    if pair:
        return _first_of_pair(package, names, factor)
    if not within and not of_maps and np.isfinite(test_scores).all():
        meaning = _several(names, factor, logits=True)
        return meaning if meaning.channels[0] is not None else _without_rest(package, meaning)
    raise FibsegError(
        f"{package.path}: the {count} channels of its output ({brief(', '.join(names))}) are no "
        "probabilities of classes that exclude each other; fibseg runs semantic segmentation alone."
    )


def _check_tags(package: Package) -> None:
    """Refuse a model whose tags say that it gives images."""
    tags = [str(tag).lower() for tag in package.model.tags]
    if any("segmentation" in tag for tag in tags):
        return
    for tag in tags:
        if any(word in tag for word in _NO_CLASSES):
            raise FibsegError(
                f"{package.path}: its tag {brief(tag)} says that it gives no classes; fibseg runs "
                "semantic segmentation alone."
            )


def _factor(tensor: Any) -> float:
    """Brings an output to 0 to 1 that is described as one of 0 to 255."""
    parts = tensor.data if isinstance(tensor.data, list | tuple) else [tensor.data]
    ranges = {tuple(getattr(part, "range", ())) for part in parts}
    return 1 / 255 if ranges == {(0, 255)} else 1.0


def _single(name: str, factor: float) -> Meaning:
    if name.lower() == _BACKGROUND:
        return Meaning([_BACKGROUND, _FOREGROUND], [0, None], factor)
    if re.fullmatch(_NUMBERED, name.lower()):
        name = _FOREGROUND
    return Meaning([_BACKGROUND, name], [None, 0], factor)


def _several(names: list[str], factor: float, logits: bool) -> Meaning:
    """Classes that exclude each other; the one named background comes first."""
    order: list[int | None] = list(range(len(names)))
    lower = [name.lower() for name in names]
    if _BACKGROUND in lower:
        place = lower.index(_BACKGROUND)
        order = [place, *(k for k in range(len(names)) if k != place)]
        rest = [name for k, name in enumerate(names) if k != place]
        return Meaning([_BACKGROUND, *rest], order, factor, logits)
    if any(re.fullmatch(_NUMBERED, name) for name in lower):
        return Meaning(names, order, factor, logits)
    # Every class has a name of its own, and none may become the value 0.
    return Meaning([_BACKGROUND, *names], [None, *order], factor, logits)


def _without_rest(package: Package, meaning: Meaning) -> Meaning:
    """Warn of logits that leave nothing for the background."""
    note = (
        f"{package.path}: no channel is named background, so that every pixel becomes "
        f"{' or '.join(meaning.class_names[1:])}; that is wrong where its classes do not exclude "
        "each other"
    )
    return replace(meaning, notes=(note,))


def _is_pair_with_boundaries(package: Package, names: Sequence[str]) -> bool:
    """Whether two maps are those of a foreground and of its boundaries, in this order."""
    if len(names) != 2:
        return False
    first, second = (name.lower() for name in names)
    if all(re.fullmatch(_NUMBERED, name) for name in (first, second)):
        model = package.model
        texts = " ".join(map(str, (model.name, model.description, *model.tags))).lower()
        return "foreground" in texts and re.search("boundar", texts) is not None
    return re.search(_BOUNDARY, second) is not None and re.search(_MAPS, first) is None


def _first_of_pair(package: Package, names: Sequence[str], factor: float) -> Meaning:
    name, other = names
    if re.fullmatch(_NUMBERED, name.lower()) or name.lower() == _BACKGROUND:
        name = _FOREGROUND
    note = (
        f"{package.path}: {name} is its first map above .5; the second one ({other}), of "
        "boundaries, is ignored, so that objects that touch are one"
    )
    return Meaning([_BACKGROUND, name], [None, 0], factor, notes=(note,))


def _channel_names(tensor: Any, count: int) -> list[str]:
    """Names of the channels of an output of so many, all different."""
    axes = [axis for axis in tensor.axes if axis.type == "channel"]
    names = [str(name) for axis in axes for name in axis.channel_names]
    usable = len(names) == count == len({name.lower() for name in names})
    if usable and all(map(str.isprintable, names)):
        return names
    return [f"class {k}" for k in range(count)]
