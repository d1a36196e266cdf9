"""Which values of a configuration are possible."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fibseg.config.schemas import (
    EfficientUNetConfig,
    ForestConfig,
    IlastikConfig,
    ModelConfig,
    TrainConfig,
    TrainingConfig,
    UNetConfig,
)
from fibseg.errors import FibsegError

Check = tuple[str, Any, Callable[[Any], bool], str]
"""A key, its value, whether it holds, and what is expected."""

MODELS: dict[str, type[ModelConfig]] = {
    "unet": UNetConfig,
    "eunet": EfficientUNetConfig,
    "forest": ForestConfig,
    "ilastik": IlastikConfig,
}

NAME = (
    (lambda v: bool(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", v))),
    "letters, digits, . _ and -",
)
WINDOWS = ("auto", "whole", "tiles", "paper", "blend")
COUNT = (lambda v: v >= 1), "1 or more"
PRECISION = (lambda v: v in ("auto", "32", "bf16")), "auto, 32 or bf16"
DEVICE = (lambda v: bool(re.fullmatch(r"auto|cpu|cuda(:\d+)?", v))), "auto, cpu, cuda or cuda:0"
CORES = (lambda v: v is None or v >= 1), "1 or more, or null for all"


def require(*checks: Check) -> None:
    """FibsegError for the first that does not hold."""
    for key, value, holds, expected in checks:
        if not holds(value):
            raise FibsegError(f"{key}: {value} is impossible; expected {expected}.")


def is_network(config: TrainConfig) -> bool:
    """Whether the model is trained by gradients."""
    return isinstance(config.model, (UNetConfig, EfficientUNetConfig))


def model_checks(model: ModelConfig) -> list[Check]:
    """Arguments of a model."""
    below_one = (lambda v: 0 <= v < 1), "0 to below 1"
    kind: Check = (
        "model.architecture",
        model.architecture,
        lambda v: MODELS.get(v) is type(model),
        "that of model=",
    )
    if isinstance(model, IlastikConfig):
        return [kind]
    if isinstance(model, ForestConfig):
        every = ("every_other", "all")
        return [
            kind,
            ("model.trees", model.trees, *COUNT),
            ("model.pixels", model.pixels, *COUNT),
            ("model.balance", model.balance, lambda v: 0 <= v <= 1, "0 to 1"),
            ("model.slices", model.slices, lambda v: v in every, " or ".join(every)),
        ]
    checks: list[Check] = [
        kind,
        ("model.width", model.width, lambda v: v >= 1, "1 or more"),
        ("model.norm_momentum", model.norm_momentum, lambda v: 0 < v <= 1, "above 0, to 1"),
        ("model.norm_eps", model.norm_eps, lambda v: v > 0, "above 0"),
    ]
    if isinstance(model, UNetConfig):
        return [*checks, ("model.dropout", model.dropout, *below_one)]
    return [
        *checks,
        ("model.drop_path", model.drop_path, *below_one),
        (
            "model.pretrained",
            model.pretrained,
            lambda v: not (v and model.weights),
            "false beside model.weights=FILE",
        ),
    ]


def checks_without_network(config: TrainConfig) -> list[Check]:
    """What a forest or Ilastik cannot be asked for."""
    if is_network(config):
        return []
    whole = (lambda v: v == "slice" or not config.filter.areas), "slice with this model"
    none = (lambda v: v is None), "null with this model"
    without = (
        (lambda v: not v or isinstance(config.model, ForestConfig)),
        "none, filter=off, with this model",
    )
    small = (lambda v: v < 2**32), "below 2^32 with this model"
    return [
        ("filter.scope", config.filter.scope, *whole),
        ("init_from", config.init_from, *none),
        ("filter.areas", config.filter.areas, *without),
        ("seed", config.seed, *small),
    ]


def training_checks(t: TrainingConfig) -> list[Check]:
    """Length, optimizer and loss."""
    return [
        *(
            (f"training.{k}", getattr(t, k), *COUNT)
            for k in ("epochs", "batches", "validation_batches", "batch_size")
        ),
        ("training.learning_rate", t.learning_rate, lambda v: 0 < v < float("inf"), "above 0"),
        (
            "training.betas",
            t.betas,
            lambda v: len(v) == 2 and all(0 <= beta < 1 for beta in v),
            "two of 0 to below 1",
        ),
        ("training.eps", t.eps, lambda v: v > 0, "above 0"),
        (
            "training.schedule",
            t.schedule,
            lambda v: v in ("constant", "cosine"),
            "constant or cosine",
        ),
        ("training.cross_entropy", t.cross_entropy, lambda v: 0 <= v < float("inf"), "0 or more"),
        ("training.precision", t.precision, *PRECISION),
    ]
