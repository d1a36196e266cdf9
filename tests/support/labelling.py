"""A small random image, and a labeller of it on the CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fibseg.machine import Compute
from fibseg.models.trained import TrainedModel
from fibseg.prediction.stack import Labeller
from fibseg.prediction.windows import windows_of

CPU = Compute(device=torch.device("cpu"), precision="32", batch_size=4, processes=1)
"""One core, 32 bits, four windows in a batch."""

IMAGE_SHAPE = (12, 70, 90)


def random_image(shape: tuple[int, int, int] = IMAGE_SHAPE) -> np.ndarray:
    """Grey values (Z, H, W) without any structure."""
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def labeller(*models: TrainedModel, compute: Compute = CPU, **changes: Any) -> Labeller:
    """What labels whole slices on the CPU by these models."""
    windows = windows_of(models[0], "whole")
    return replace(Labeller(models=list(models), windows=windows, compute=compute), **changes)
