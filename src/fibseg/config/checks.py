"""Which values of a configuration are possible."""

from __future__ import annotations

import re

from fibseg.config.schemas import MODEL_SCHEMAS, FilterConfig, TrainConfig, TrainingConfig
from fibseg.data.description import instance_classes
from fibseg.data.sampling import Augmentation
from fibseg.filters.channels import MOST_CONTEXT, SCOPES
from fibseg.models.kinds import ADAPTATIONS, ALL_WINDOWS, ARGUMENT_RULES, DECISIONS, INTENSITIES
from fibseg.rules import (
    BELOW_ONE,
    COUNT,
    NAME,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Check,
    Rule,
    among,
    number,
    whole,
)

PRECISION = among("auto", "32", "bf16")
DEVICE = Rule(
    lambda value: bool(re.fullmatch(r"auto|cpu|cuda(:\d+)?", value)), "auto, cpu, cuda or cuda:0"
)
CORES = Rule(lambda value: value is None or value >= 1, "1 or more, or null for all")
INTENSITY = among(*INTENSITIES)
ADAPTATION = among(*ADAPTATIONS)
WINDOWS = among("auto", *ALL_WINDOWS)


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
        has_start = bool(model.pretrained or model.weights or config.init_from)
        started = Rule(lambda count: count == 0 or has_start, "0 without weights to start from")
        checks.append(Check("model.frozen_epochs", model.frozen_epochs, started))
    if "head" in kind.keys:
        objects = Rule(
            lambda head: head == "none" or bool(instance_classes(config.data)),
            "none without a class of instances: true in data.classes",
        )
        checks.append(Check("model.head", model.head, objects))
    return checks if kind.by_gradient else [*checks, *_checks_without_gradient(config)]


def _checks_without_gradient(config: TrainConfig) -> list[Check]:
    """Checks of what only networks can be asked for."""
    kind = config.kind
    # A forest classifies pixels of whole slices, and scikit-learn's seeds have 32 bits.
    whole = Rule(lambda _: not config.channels.by_patch, "slice with this model")
    nothing = Rule(lambda value: value is None, "null with this model")
    unfiltered = Rule(
        lambda areas: not areas or kind.takes_channels, "none, filter=off, with this model"
    )
    flat = Rule(lambda context: context == 0, "0 with this model")
    small = Rule(lambda seed: seed < 2**32, "below 2^32 with this model")
    return [
        Check("filter.scope", config.filter.scope, whole),
        Check("init_from", config.init_from, nothing),
        Check("filter.areas", config.filter.areas, unfiltered),
        Check("data.context", config.data.context, flat),
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
        Check("training.ema", training.ema, BELOW_ONE),
        Check("training.select", training.select, among("loss", "slices")),
        Check("training.precision", training.precision, PRECISION),
    ]


def augmentation_checks(augmentation: Augmentation) -> list[Check]:
    """Checks of how much patches are changed."""
    limits = {
        "share": number(0, 1),
        "gain": number(0, 1),
        "offset": number(0, 1),
        "gamma": number(0, 10),
        "noise": number(0, 1),
        "blur": number(0, 20),
        "coarse": Rule(lambda value: value == 0 or 1 <= value <= 16, "0, or 1 to 16"),
        "curtains": number(0, 1),
        "charging": number(0, 1),
        "scale": number(0, 4),
        "elastic": number(0, 50),
    }
    return [
        Check("augmentation.name", augmentation.name, NAME),
        *(
            Check(f"augmentation.{name}", getattr(augmentation, name), rule)
            for name, rule in limits.items()
        ),
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


def decision_checks(config: TrainConfig) -> list[Check]:
    """Checks of what is added to the scores of the classes."""
    kind = config.kind
    # A forest draws no patches. Ilastik gives labels alone: for it these keys mean nothing.
    possible: tuple[str, ...] = DECISIONS if kind.by_gradient else ("argmax", "validation")
    if kind.network is None:
        possible = DECISIONS
    return [
        Check("decision", config.decision, among(*DECISIONS)),
        Check("decision", config.decision, among(*possible)),
        Check("smallest", config.smallest, among("none", "validation")),
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
        Check("data.context", config.data.context, whole(0, MOST_CONTEXT)),
        *model_checks(config),
        *filter_checks(config.filter),
        Check("patches.size", patches.size, Rule(lambda size: size >= 3, "3 or more")),
        Check("patches.class_share", patches.class_share, SHARE),
        Check("patches.validation_seed", patches.validation_seed, NOT_NEGATIVE),
        *augmentation_checks(config.augmentation),
        *training_checks(config.training),
        Check(
            "init_from",
            config.init_from,
            Rule(alone, "null beside model.pretrained or weights"),
        ),
        *(Check("logger", name, among("csv", "wandb", "tensorboard")) for name in config.logger),
        Check("tracking.project", config.tracking.project, NAME),
        Check("tracking.images_every", config.tracking.images_every, NOT_NEGATIVE),
        Check("windows", config.windows, among("paper", "auto")),
        *decision_checks(config),
        Check("machine.device", machine.device, DEVICE),
        Check("machine.threads", machine.threads, CORES),
        Check("machine.processes", machine.processes, CORES),
        Check("machine.window_batch", machine.window_batch, COUNT),
    ]
