"""Labels and objects of stacks that are in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fibseg.arrays import Pixels
from fibseg.config import compose as configuration
from fibseg.config.checks import ADAPTATION, DEVICE, INTENSITY, WINDOWS
from fibseg.errors import FibsegError
from fibseg.machine import cores
from fibseg.rules import Check, require
from fibseg.runs.directory import find_checkpoint
from fibseg.stack import Stack, open_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fibseg.models.trained import TrainedModel
    from fibseg.prediction.labeller import Labeller
    from fibseg.prediction.stack import LabelledSlice


def predict(
    model: TrainedModel | str | Path,
    stack: Stack | Pixels | str | Path,
    windows: str = "auto",
    device: str = "auto",
    intensity: str = "training",
    adapt: str = "none",
) -> Pixels:
    """Label a stack in memory; `fibseg predict` does so for stacks of any size.

    Args:
        model: a trained model, or where it is kept.
        stack: (Z, H, W) grey values, an opened stack, or its path.
        windows: how slices are cut: auto, whole, tiles, paper or blend.
        device: auto, cpu or cuda:0.
        intensity: whose grey values become 0 and 255: training, own (of this stack) or slice.
        adapt: what is taken of the stack itself: none, grey (values), norm (statistics), both, or
            auto, which prints what it took.

    Returns:
        Label values (Z, H, W) as in the label files of the training.

    Raises:
        FibsegError: a slice or the model cannot be read, or the grey values are of another scale.
    """
    from fibseg.prediction.slices import label_table

    image = opened(stack)
    labeller = _labeller(
        model=model,
        image=image,
        windows=windows,
        device=device,
        intensity=intensity,
        adapt=adapt,
    )
    values = label_table(labeller.models[0].label_values)
    labels = np.empty(image.shape, values.dtype)
    for labelled in _labelled(labeller, image):
        labels[labelled.z] = values[labelled.labels]
    return labels


def predict_objects(
    model: TrainedModel | str | Path,
    stack: Stack | Pixels | str | Path,
    windows: str = "auto",
    device: str = "auto",
    intensity: str = "training",
    adapt: str = "none",
) -> Pixels:
    """Number the objects of a stack in memory, of the classes that have objects.

    `fibseg predict instances=FILE` does so for stacks of any size.

    Args:
        model: as in `predict`.
        stack: as in `predict`.
        windows: as in `predict`.
        device: as in `predict`.
        intensity: as in `predict`.
        adapt: as in `predict`.

    Returns:
        Numbers (Z, H, W) uint32 from 1 in the order of first voxels, 0 where there is no object.

    Raises:
        FibsegError: as in `predict`, or no class of the model has objects.
    """
    from fibseg.prediction.instances import common_rules, linked_slices

    image = opened(stack)
    labeller = _labeller(
        model=model,
        image=image,
        windows=windows,
        device=device,
        intensity=intensity,
        adapt=adapt,
    )
    rules = common_rules(labeller.models)
    numbers = np.zeros(image.shape, np.uint32)
    labels = np.zeros(image.shape, np.uint8)
    for labelled in _labelled(replace(labeller, objects=rules), image):
        assert labelled.labels is not None and labelled.objects is not None
        labels[labelled.z] = labelled.labels
        numbers[labelled.z] = labelled.objects
    links = linked_slices(zip(labels, numbers, strict=True), rules)
    for z, objects in enumerate(numbers):
        numbers[z] = links.numbered(z, objects)
    return numbers


def _labeller(
    model: TrainedModel | str | Path,
    image: Stack,
    windows: str,
    device: str,
    intensity: str,
    adapt: str,
) -> Labeller:
    """What labels an opened stack; arguments are those of `predict`."""
    from rich.console import Console

    from fibseg.machine import Compute, choose_device
    from fibseg.models.foreign.opening import open_model
    from fibseg.prediction.adaptation import adapted
    from fibseg.prediction.ensemble import common_precision, common_windows
    from fibseg.prediction.labeller import Labeller

    # A model that is already loaded may label many stacks.
    require(
        Check("windows", windows, WINDOWS),
        Check("device", device, DEVICE),
        Check("intensity", intensity, INTENSITY),
        Check("adapt", adapt, ADAPTATION),
    )
    if isinstance(model, str | Path):
        model = open_model(find_checkpoint(Path(model)))
    _, height, width = image.shape
    defaults = configuration.predict_defaults()
    chosen = choose_device(device)
    precision = common_precision([model], chosen)
    compute = Compute(chosen, precision, defaults["window_batch"], cores())
    (trained,), _ = adapted(
        models=[model],
        adapt=adapt,
        intensity=intensity,
        stack=image,
        scale=(1.0, 1.0),
        compute=compute,
        console=Console(soft_wrap=True, markup=False),
    )
    return Labeller(
        models=[trained],
        windows=common_windows([trained], windows, defaults["tile"], height * width),
        compute=compute,
    )


def _labelled(labeller: Labeller, image: Stack) -> Iterator[LabelledSlice]:
    """Label all slices of a stack."""
    from fibseg.prediction.stack import label_stack

    for labelled in label_stack(labeller, image, range(image.shape[0])):
        if labelled.error is not None:
            # A whole stack can skip unreadable slices; an array has no place to say which.
            raise labelled.error
        yield labelled


def opened(stack: Stack | Pixels | str | Path) -> Stack:
    """A stack from wherever it is.

    Raises:
        FibsegError: an array has not three axes, or a file cannot be opened.
    """
    if isinstance(stack, Stack):
        return stack
    if isinstance(stack, np.ndarray):
        if stack.ndim != 3:
            raise FibsegError(f"an array of shape {stack.shape}; expected (Z, H, W).")
        depth, height, width = stack.shape
        # A stack reads slice by slice; an array gives its slices without a copy.
        return Stack("the array", (depth, height, width), stack.dtype, lambda z: stack[z])
    return open_stack(stack)
