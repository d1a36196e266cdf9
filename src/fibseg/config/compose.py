"""From conf/ to dataclasses: registration of the schemas, range checks.

Touched by the programs, training.py and the launcher alone.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fibseg.config.checks import (
    CORES,
    COUNT,
    DEVICE,
    MODELS,
    NAME,
    PRECISION,
    WINDOWS,
    checks_without_network,
    model_checks,
    require,
    training_checks,
)
from fibseg.config.derived import areas_in_pixels
from fibseg.config.messages import SCHEMAS, refuse_additions, sentence
from fibseg.config.schemas import (
    EfficientUNetConfig,
    FilterConfig,
    ForestConfig,
    IlastikConfig,
    MachineConfig,
    PatchesConfig,
    PredictConfig,
    TrackingConfig,
    TrainConfig,
    TrainingConfig,
    UNetConfig,
)
from fibseg.data.description import (
    BackgroundDescription,
    ClassDescription,
    DataDescription,
    IntensityDescription,
    PhantomDescription,
    SecondExpert,
    VolumeDescription,
)
from fibseg.errors import FibsegError
from fibseg.runs.identity import run_name

CONF = Path(__file__).resolve().parents[1] / "conf"
"""The project's own YAML files."""


SCHEMAS.update(
    (schema.__name__, schema)
    for schema in (
        TrainConfig,
        FilterConfig,
        UNetConfig,
        EfficientUNetConfig,
        ForestConfig,
        IlastikConfig,
        PatchesConfig,
        TrainingConfig,
        MachineConfig,
        TrackingConfig,
        PredictConfig,
        DataDescription,
        ClassDescription,
        BackgroundDescription,
        IntensityDescription,
        VolumeDescription,
        SecondExpert,
        PhantomDescription,
    )
)


def register() -> None:
    """Make the schemas known to Hydra, under names that conf/ starts its defaults lists with."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="predict_schema", node=PredictConfig)
    for name, schema in MODELS.items():
        store.store(group="model_schema", name=name, node=schema)


def train_config(composed: DictConfig) -> tuple[TrainConfig, dict[str, Any]]:
    """The composed configuration as dataclasses and as plain mappings; FibsegError on an impossible value."""
    require_values(composed)
    config = cast(TrainConfig, OmegaConf.to_object(composed))
    plain = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True, enum_to_str=True))
    p = config.patches
    config.filter.areas = plain["filter"]["areas"] = areas_in_pixels(config.filter.areas, p.size)
    share = (lambda v: 0 <= v <= 1), "0 to 1"
    plain_start = not (plain["model"].get("pretrained") or plain["model"].get("weights"))
    require(
        ("seed", config.seed, lambda v: v >= 0, "0 or more"),
        ("name", config.name, *NAME),
        *model_checks(config.model),
        *checks_without_network(config),
        (
            "filter.areas",
            config.filter.areas,
            lambda v: all(area >= 1 for area in v),
            "areas of 1 pixel or more",
        ),
        (
            "filter.areas",
            config.filter.areas,
            lambda v: bool(v) == (config.filter.name != "off"),
            "areas with filter=on",
        ),
        ("filter.scope", config.filter.scope, lambda v: v in ("slice", "patch"), "slice or patch"),
        ("patches.size", p.size, lambda v: v >= 3, "3 or more"),
        ("patches.class_share", p.class_share, *share),
        ("patches.validation_seed", p.validation_seed, lambda v: v >= 0, "0 or more"),
        *training_checks(config.training),
        (
            "init_from",
            config.init_from,
            lambda v: v is None or plain_start,
            "null beside model.pretrained or weights",
        ),
        *(
            (
                "logger",
                name,
                lambda v: v in ("csv", "wandb", "tensorboard"),
                "csv, wandb or tensorboard",
            )
            for name in config.logger
        ),
        ("tracking.project", config.tracking.project, *NAME),
        ("tracking.images_every", config.tracking.images_every, lambda v: v >= 0, "0 or more"),
        ("windows", config.windows, lambda v: v == "paper", "paper"),
        ("machine.device", config.machine.device, *DEVICE),
        ("machine.threads", config.machine.threads, *CORES),
        ("machine.processes", config.machine.processes, *CORES),
        ("machine.window_batch", config.machine.window_batch, *COUNT),
    )
    return config, plain


def predict_config(composed: DictConfig) -> PredictConfig:
    """The composed configuration of a prediction as a dataclass; FibsegError on an impossible value."""
    require_values(composed)
    config = cast(PredictConfig, OmegaConf.to_object(composed))
    voxel = (lambda v: v is None or (len(v) == 3 and min(v) > 0)), "[z, y, x] in nm, above 0"
    require(
        ("voxel_size", config.voxel_size, *voxel),
        ("precision", config.precision, *PRECISION),
        ("device", config.device, *DEVICE),
        ("threads", config.threads, *CORES),
        ("processes", config.processes, *CORES),
        ("tta", config.tta, lambda v: v in ("none", "d4"), "none or d4"),
        ("windows", config.windows, lambda v: v in WINDOWS, "one of " + ", ".join(WINDOWS)),
        ("shard", config.shard, lambda v: 0 <= v < config.shards, "0 to shards - 1"),
        *(
            (key, getattr(config, key), *COUNT)
            for key in ("window_batch", "best", "tile", "shards")
        ),
    )
    return config


def require_values(composed: DictConfig) -> None:
    """FibsegError naming a key that must be given and is not, or one that no schema knows."""
    refuse_additions(composed)
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        how = "in its file, in place of ???" if "[" in missing[0] else f"as in {missing[0]}=..."
        raise FibsegError(f"{missing[0]}: must be given, {how}")


def run_path(config: TrainConfig, plain: dict[str, Any]) -> Path:
    """Where the run of the configuration that Hydra holds now has its directory."""
    chosen = HydraConfig.get().runtime.choices
    choices = {
        str(group): choice
        for group, choice in chosen.items()
        if not str(group).startswith("hydra/")
    }
    usual = _usual_config(
        tuple(f"{group}={choice}" for group, choice in choices.items() if choice is not None)
    )
    return (
        Path(config.machine.runs) / config.name / run_name(plain, choices.get("experiment"), usual)
    )


@cache
def _usual_config(choices: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of these choices with no key changed."""
    composed = compose("train", overrides=list(choices))
    usual = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    usual["filter"]["areas"] = areas_in_pixels(usual["filter"]["areas"], usual["patches"]["size"])
    return usual


def load_description(name_or_path: str) -> DataDescription:
    """A data description by its name in conf/data or by the path of its YAML file."""
    named = CONF / "data" / f"{name_or_path}.yaml"
    path = Path(name_or_path) if Path(name_or_path).is_file() else named
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in (CONF / "data").glob("*.yaml")))
        raise FibsegError(
            f"{name_or_path}: no such data description; expected a YAML file or one of {known}."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FibsegError(f"{path}: {sentence(error)}") from error
    return description_of(content, str(path))


def description_of(content: Any, where: str) -> DataDescription:
    """A data description from plain mappings; FibsegError, with the file they came from, where they do not fit."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(DataDescription), content)
    except (ValueError, OmegaConfBaseException) as error:
        raise FibsegError(f"{where}: {sentence(error)}") from error
    require_values(cast(DictConfig, merged))
    return cast(DataDescription, OmegaConf.to_object(merged))
