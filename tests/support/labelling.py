"""A small random image, and a labeller of it on the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fibseg.models.trained import TrainedModel
from fibseg.prediction.stack import Labeller
from fibseg.prediction.windows import windows_of

CPU = torch.device("cpu")


IMAGE_SHAPE = (12, 70, 90)


def random_image(shape: tuple[int, int, int] = IMAGE_SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def labeller(*models: TrainedModel, **changes: object) -> Labeller:
    return replace(
        Labeller(list(models), windows_of(models[0], "whole"), CPU, "32", 4, 1), **changes
    )  # type: ignore[arg-type]
