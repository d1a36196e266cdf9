"""From conf/ to dataclasses: registration of the schemas, composition, range checks.

Only commands and sweeps use this module: the rest of the package gets dataclasses.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from fibseg.config.checks import (
    CORES,
    COUNT,
    DEVICE,
    PRECISION,
    WINDOWS,
    Check,
    Rule,
    among,
    require,
    run_checks,
)
from fibseg.config.derived import areas_in_pixels
from fibseg.config.messages import SCHEMAS, refuse_additions, sentence
from fibseg.config.schemas import (
    MODEL_SCHEMAS,
    FilterConfig,
    MachineConfig,
    PatchesConfig,
    PredictConfig,
    TrackingConfig,
    TrainConfig,
    TrainingConfig,
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
        *MODEL_SCHEMAS.values(),
        TrainConfig,
        FilterConfig,
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
    for name, schema in MODEL_SCHEMAS.items():
        store.store(group="model_schema", name=name, node=schema)


def train_config(composed: DictConfig) -> tuple[TrainConfig, dict[str, Any]]:
    """The composed configuration as dataclasses and as plain mappings.

    Raises:
        FibsegError: a value is impossible.
    """
    require_values(composed)
    config = cast(TrainConfig, OmegaConf.to_object(composed))
    plain = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True, enum_to_str=True))
    areas = areas_in_pixels(config.filter.areas, config.patches.size)
    config.filter.areas = areas
    plain["filter"]["areas"] = areas
    require(*run_checks(config))
    return config, plain


def predict_config(composed: DictConfig) -> PredictConfig:
    """The composed configuration of a prediction as a dataclass.

    Raises:
        FibsegError: a value is impossible.
    """
    require_values(composed)
    config = cast(PredictConfig, OmegaConf.to_object(composed))
    voxel = Rule(
        lambda size: size is None or (len(size) == 3 and min(size) > 0), "[z, y, x] in nm, above 0"
    )
    shard = Rule(lambda number: 0 <= number < config.shards, "0 to shards - 1")
    counts = ("window_batch", "best", "tile", "shards")
    require(
        Check("voxel_size", config.voxel_size, voxel),
        Check("precision", config.precision, PRECISION),
        Check("device", config.device, DEVICE),
        Check("threads", config.threads, CORES),
        Check("processes", config.processes, CORES),
        Check("tta", config.tta, among("none", "d4")),
        Check("windows", config.windows, WINDOWS),
        Check("shard", config.shard, shard),
        *(Check(key, getattr(config, key), COUNT) for key in counts),
    )
    return config


def require_values(composed: DictConfig) -> None:
    """FibsegError naming a key that must be given and is not, or one that no schema knows."""
    refuse_additions(composed)
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        how = "in its file, in place of ???" if "[" in missing[0] else f"as in {missing[0]}=..."
        raise FibsegError(f"{missing[0]}: must be given, {how}")


def without_hydra(composed: DictConfig) -> DictConfig:
    """A composed configuration without Hydra's own keys."""
    plain = composed.copy()
    with read_write(plain), open_dict(plain):
        del plain["hydra"]
    return plain


def run_path(config: TrainConfig, plain: dict[str, Any]) -> Path:
    """Directory of the run of the configuration that Hydra holds now."""
    hydra_config = HydraConfig.get()
    choices = {
        str(group): choice
        for group, choice in hydra_config.runtime.choices.items()
        if choice is not None and not str(group).startswith("hydra/")
    }
    usual = _usual_config(
        tuple(f"{group}={choice}" for group, choice in choices.items()),
        tuple(hydra_config.searchpath),
    )
    name = run_name(plain, choices.get("experiment"), usual)
    return Path(config.machine.runs) / config.name / name


@cache
def _usual_config(choices: tuple[str, ...], search: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of these choices with no key changed."""
    path = [f"hydra.searchpath=[{','.join(search)}]"] if search else []
    composed = compose("train", overrides=[*path, *choices])
    usual = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    usual["filter"]["areas"] = areas_in_pixels(usual["filter"]["areas"], usual["patches"]["size"])
    return usual


def forget_usual_configs() -> None:
    """Compose the usual configurations anew: files of a long-lived process may have changed."""
    _usual_config.cache_clear()


def predict_defaults() -> dict[str, Any]:
    """The values of conf/predict.yaml."""
    return dict(yaml.safe_load((CONF / "predict.yaml").read_text(encoding="utf-8")))


def with_user_folder(arguments: list[str]) -> list[str]:
    """Command line of a Hydra program that also finds configurations in ./conf, where there is one.

    `fibseg new` writes there. A folder that the user names, and the package's own, need no help.
    """
    folder = Path("conf")
    named = ("--config-dir", "-cd", "--config-path", "-cp")
    if any(argument.split("=")[0] in named for argument in arguments):
        return arguments
    if not folder.is_dir() or folder.resolve() == CONF.resolve():
        return arguments
    program, *rest = arguments
    return [program, f"--config-dir={folder.absolute()}", *rest]


def load_description(name_or_path: str) -> DataDescription:
    """A data description by its name in conf/data or by the path of its YAML file.

    A name is looked up in the package, then in conf/data of the current directory, as Hydra does.
    """
    folders = [CONF / "data", Path("conf", "data")]
    paths = [Path(name_or_path), *(folder / f"{name_or_path}.yaml" for folder in folders)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        names = {entry.stem for folder in folders for entry in folder.glob("*.yaml")}
        raise FibsegError(
            f"{name_or_path}: no such data description; "
            f"expected a YAML file or one of {', '.join(sorted(names))}."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FibsegError(f"{path}: {sentence(error)}") from error
    return description_of(content, str(path))


def description_of(content: Any, where: str) -> DataDescription:
    """A data description from plain mappings, which came from the file `where`.

    Raises:
        FibsegError: a key or a value does not fit.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(DataDescription), content)
    except (ValueError, OmegaConfBaseException) as error:
        raise FibsegError(f"{where}: {sentence(error)}") from error
    require_values(cast(DictConfig, merged))
    return cast(DataDescription, OmegaConf.to_object(merged))
