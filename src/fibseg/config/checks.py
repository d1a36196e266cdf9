"""Which values of a configuration are possible."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from fibseg.config.schemas import MODEL_SCHEMAS, FilterConfig, TrainConfig, TrainingConfig
from fibseg.errors import FibsegError
from fibseg.filters.channels import SCOPES
from fibseg.models.kinds import ALL_WINDOWS, INTENSITIES


# Rules are data and not code, so that one function says every mistake in the same sentence.
class Rule(NamedTuple):
    """A condition on a value, and what a user is told to give instead."""

    holds: Callable[[Any], bool]
    expected: str


class Check(NamedTuple):
    """A rule for the value of a key."""

    key: str
    value: Any
    rule: Rule


def among(*choices: str) -> Rule:
    """The rule that a value is one of these."""
    # As a sentence needs it: auto, 32 or bf16.
    words = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return Rule(lambda value: value in choices, words)


# Names become folders, and values on Hydra's command line, whose grammar = and , would break.
NAME = Rule(
    lambda value: bool(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", value)),
    "letters, digits, . _ and -",
)
COUNT = Rule(lambda value: value >= 1, "1 or more")
NOT_NEGATIVE = Rule(lambda value: value >= 0, "0 or more")
# Comparisons with NaN are false, so that NaN fails every rule of a range.
POSITIVE = Rule(lambda value: 0 < value < float("inf"), "above 0")
SHARE = Rule(lambda value: 0 <= value <= 1, "0 to 1")
BELOW_ONE = Rule(lambda value: 0 <= value < 1, "0 to below 1")
PRECISION = among("auto", "32", "bf16")
DEVICE = Rule(
    lambda value: bool(re.fullmatch(r"auto|cpu|cuda(:\d+)?", value)), "auto, cpu, cuda or cuda:0"
)
CORES = Rule(lambda value: value is None or value >= 1, "1 or more, or null for all")
INTENSITY = among(*INTENSITIES)
WINDOWS = among("auto", *ALL_WINDOWS)

ARGUMENT_RULES = {
    "width": COUNT,
    "norm_momentum": Rule(lambda value: 0 < value <= 1, "above 0, to 1"),
    "norm_eps": POSITIVE,
    "dropout": BELOW_ONE,
    "drop_path": BELOW_ONE,
    "trees": COUNT,
    "pixels": COUNT,
    "balance": SHARE,
    "slices": among("every_other", "all"),
}
"""Rule of each key in conf/model that has one, whatever the kind of model."""


def require(*checks: Check) -> None:
    """Check values in the given order.

    Raises:
        FibsegError: the first one that is impossible, with what is expected.
    """
    for key, value, rule in checks:
        if not rule.holds(value):
            raise FibsegError(f"{key}: {value} is impossible; expected {rule.expected}.")


def model_checks(config: TrainConfig) -> list[Check]:
    """Checks of the model's keys, and of what its kind cannot be asked for."""
    model = config.model
    schema = Rule(lambda name: MODEL_SCHEMAS.get(name) is type(model), "that of model=")
    # YAML of a user may name the architecture of one model and hold the keys of another.
    checks = [Check("model.architecture", model.architecture, schema)]
    # The other checks would ask for keys that the model does not have.
    if not schema.holds(model.architecture):
        return checks
    kind = config.kind
    checks += [
        Check(f"model.{name}", getattr(model, name), ARGUMENT_RULES[name])
        # Keys that are on or off, or a name that timm checks itself, have no rule.
        for name in kind.keys
        if name in ARGUMENT_RULES
    ]
    # Two sources of first weights: one of them would be passed over in silence.
    if kind.has_encoder:
        alone = Rule(lambda value: not (value and model.weights), "false beside model.weights=FILE")
        checks.append(Check("model.pretrained", model.pretrained, alone))
    if kind.by_gradient:
        return checks
    # A forest classifies pixels of whole slices, and scikit-learn's seeds have 32 bits.
    whole = Rule(lambda _: not config.channels.by_patch, "slice with this model")
    nothing = Rule(lambda value: value is None, "null with this model")
    unfiltered = Rule(
        lambda areas: not areas or kind.takes_channels, "none, filter=off, with this model"
    )
    small = Rule(lambda seed: seed < 2**32, "below 2^32 with this model")
    return [
        *checks,
        Check("filter.scope", config.filter.scope, whole),
        Check("init_from", config.init_from, nothing),
        Check("filter.areas", config.filter.areas, unfiltered),
        Check("seed", config.seed, small),
    ]


def training_checks(training: TrainingConfig) -> list[Check]:
    """Checks of length, optimizer and loss."""
    counts = ("epochs", "batches", "validation_batches", "batch_size")
    betas = Rule(
        lambda value: len(value) == 2 and all(0 <= beta < 1 for beta in value),
        "two of 0 to below 1",
    )
    # Not NOT_NEGATIVE, which lets infinity pass.
    finite = Rule(lambda value: 0 <= value < float("inf"), "0 or more")
    return [
        *(Check(f"training.{name}", getattr(training, name), COUNT) for name in counts),
        Check("training.learning_rate", training.learning_rate, POSITIVE),
        Check("training.betas", training.betas, betas),
        Check("training.eps", training.eps, POSITIVE),
        Check("training.schedule", training.schedule, among("constant", "cosine")),
        Check("training.cross_entropy", training.cross_entropy, finite),
        Check("training.precision", training.precision, PRECISION),
    ]


def filter_checks(filtering: FilterConfig) -> list[Check]:
    """Checks of the areas of the filter and of what it is applied to."""
    positive = Rule(lambda areas: all(area >= 1 for area in areas), "areas of 1 pixel or more")
    as_named = Rule(lambda areas: bool(areas) == (filtering.name != "off"), "areas with filter=on")
    return [
        # Before the rule of on and off: [0] is a wrong area and not a missing one.
        Check("filter.areas", filtering.areas, positive),
        Check("filter.areas", filtering.areas, as_named),
        Check("filter.scope", filtering.scope, among(*SCOPES)),
    ]


def run_checks(config: TrainConfig) -> list[Check]:
    """Every check of a training run, in the order in which mistakes are reported."""
    patches = config.patches
    machine = config.machine

    # A file of weights for the encoder and a start for the whole network exclude each other.
    def alone(source: str | None) -> bool:
        """Whether a run starts from one source of weights at most."""
        encoder = config.kind.has_encoder
        return source is None or not (encoder and (config.model.pretrained or config.model.weights))

    return [
        Check("seed", config.seed, NOT_NEGATIVE),
        Check("name", config.name, NAME),
        *model_checks(config),
        *filter_checks(config.filter),
        Check("patches.size", patches.size, Rule(lambda size: size >= 3, "3 or more")),
        Check("patches.class_share", patches.class_share, SHARE),
        Check("patches.validation_seed", patches.validation_seed, NOT_NEGATIVE),
        *training_checks(config.training),
        Check(
            "init_from",
            config.init_from,
            Rule(alone, "null beside model.pretrained or weights"),
        ),
        *(Check("logger", name, among("csv", "wandb", "tensorboard")) for name in config.logger),
        Check("tracking.project", config.tracking.project, NAME),
        Check("tracking.images_every", config.tracking.images_every, NOT_NEGATIVE),
        # Every run is scored by the windows of the paper, so that all scores can be compared.
        Check("windows", config.windows, Rule(lambda value: value == "paper", "paper")),
        Check("machine.device", machine.device, DEVICE),
        Check("machine.threads", machine.threads, CORES),
        Check("machine.processes", machine.processes, CORES),
        Check("machine.window_batch", machine.window_batch, COUNT),
    ]
