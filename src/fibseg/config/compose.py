"""From conf/ to dataclasses: registration of the schemas, composition, range checks.

Only commands and sweeps use this module: the rest of the package gets dataclasses.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from fibseg.config.checks import (
    ADAPTATION,
    CORES,
    DEVICE,
    INTENSITY,
    PRECISION,
    WINDOWS,
    run_checks,
)
from fibseg.config.command_line import quoted, text_in_grammar, with_home
from fibseg.config.derived import areas_in_pixels
from fibseg.config.descriptions import FOLDER_FLAGS, read_plain, with_homes
from fibseg.config.interpolations import refuse_resolvers
from fibseg.config.messages import require_values, sentence
from fibseg.config.schemas import MODEL_SCHEMAS, PATHS, PredictConfig, TrackingConfig, TrainConfig
from fibseg.data.description import DataDescription, check_names
from fibseg.errors import FibsegError
from fibseg.rules import COUNT, Check, Rule, among, require
from fibseg.runs.identity import place_of_run
from fibseg.runs.masking import without_secrets
from fibseg.stack.output.ome import ZARR_FORMATS

CONF = Path(__file__).resolve().parents[1] / "conf"
"""The project's own YAML files."""


def register() -> None:
    """Make the schemas known to Hydra, under names that conf/ starts its defaults lists with."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="predict_schema", node=PredictConfig)
    for name, schema in MODEL_SCHEMAS.items():
        # A group of their own: in the group `model`, schemas would be offered as choices of model=.
        store.store(group="model_schema", name=name, node=schema)


def train_config(composed: DictConfig) -> tuple[TrainConfig, dict[str, Any]]:
    """The composed configuration as dataclasses and as plain mappings.

    Raises:
        FibsegError: a value is impossible.
    """
    # Before anything is resolved, and so could be read or sent somewhere.
    _refuse_resolvers(composed)
    # A missing value would raise an error of OmegaConf below.
    require_values(composed)
    config = cast(TrainConfig, OmegaConf.to_object(composed))
    plain = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True, enum_to_str=True))
    # Shares become pixels in both copies: the plain one is hashed and written to config.yaml.
    areas = areas_in_pixels(config.filter.areas, config.patches.size)
    config.filter.areas = areas
    plain["filter"]["areas"] = areas
    # First: `name` is that of the data set, unless another is given.
    check_names(config.data)
    require(*run_checks(config))
    # What a secret is needed for, as the path of an image, keeps it in the dataclass alone.
    plain = without_secrets(plain)
    config.tracking = TrackingConfig(**plain["tracking"])
    _expand_homes(config)
    with_homes(config.data)
    return config, plain


def _refuse_resolvers(composed: DictConfig) -> None:
    """Refuse texts that OmegaConf would compute; a description may not even read a variable."""
    content = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=False))
    description = content.pop("data", None)
    refuse_resolvers(content, "", allowed=None)
    # Without Hydra there is no command line.
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    refuse_resolvers({"data": description}, "", allowed=typed)


def _expand_homes(config: Any) -> None:
    """Put the home directory in place of the leading `~` of every path in a configuration."""
    for key in PATHS:
        *groups, name = key.split(".")
        holder = reduce(lambda node, group: getattr(node, group, None), groups, config)
        path = getattr(holder, name, None)
        # Kinds of models, and the two programs, have some of these keys each.
        if isinstance(path, str):
            setattr(holder, name, with_home(path))


def predict_config(composed: DictConfig) -> PredictConfig:
    """The composed configuration of a prediction as a dataclass.

    Raises:
        FibsegError: a value is impossible.
    """
    content = OmegaConf.to_container(composed, resolve=False)
    refuse_resolvers(content, "", allowed=None)
    require_values(composed)
    config = cast(PredictConfig, OmegaConf.to_object(composed))
    voxel = Rule(
        lambda size: size is None or (len(size) == 3 and min(size) > 0), "[z, y, x] in nm, above 0"
    )
    counts = ("window_batch", "best", "tile")
    require(
        Check("voxel_size", config.voxel_size, voxel),
        Check("precision", config.precision, PRECISION),
        Check("device", config.device, DEVICE),
        Check("threads", config.threads, CORES),
        Check("processes", config.processes, CORES),
        Check("tta", config.tta, among("none", "d4")),
        Check("zarr", config.zarr, among(*ZARR_FORMATS)),
        Check("intensity", config.intensity, INTENSITY),
        Check("adapt", config.adapt, ADAPTATION),
        Check("windows", config.windows, WINDOWS),
        *(Check(key, getattr(config, key), COUNT) for key in counts),
    )
    _expand_homes(config)
    return config


def without_hydra(composed: DictConfig) -> DictConfig:
    """A composed configuration without Hydra's own keys."""
    plain = composed.copy()
    # Hydra hands over a configuration that is read-only and closed.
    with read_write(plain), open_dict(plain):
        del plain["hydra"]
    return plain


def run_path(config: TrainConfig, plain: dict[str, Any]) -> Path:
    """Directory of the run of the configuration that Hydra holds now."""
    hydra_config = HydraConfig.get()
    choices = {
        str(group): choice
        for group, choice in hydra_config.runtime.choices.items()
        # Groups of Hydra itself, as the launcher, change no result and no name.
        if choice is not None and not str(group).startswith("hydra/")
    }
    # A run is named after what differs from these choices alone.
    usual = _usual_config(
        # Tuples, because a cache needs arguments that can be hashed.
        tuple(
            f"{group}={text_in_grammar(choice)}"
            for group, choice in choices.items()
            # A loss has no place in a name but as the keys that it changes.
            if group != "loss"
        ),
        tuple(hydra_config.searchpath),
    )
    folder = Path(config.machine.runs) / config.name
    return place_of_run(folder, plain, choices.get("experiment"), usual)


def search_path(places: Sequence[str]) -> str:
    """The override by which Hydra also looks in these places."""
    return f"hydra.searchpath=[{','.join(quoted(place) for place in places)}]"


@cache
def _usual_config(choices: tuple[str, ...], search: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of these choices with no key changed."""
    # Choices may stand in folders that a user added by hydra.searchpath.
    composed = compose("train", overrides=[search_path(search), *choices])
    usual = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    # As in the run's own configuration, or "1%" would differ from 655.
    usual["filter"]["areas"] = areas_in_pixels(usual["filter"]["areas"], usual["patches"]["size"])
    return usual


def forget_usual_configs() -> None:
    """Compose the usual configurations anew: files of a long-lived process may have changed."""
    _usual_config.cache_clear()


def predict_defaults() -> dict[str, Any]:
    """The values of conf/predict.yaml."""
    # Read as plain YAML: a notebook needs the defaults, and no composition.
    return dict(yaml.safe_load((CONF / "predict.yaml").read_text(encoding="utf-8")))


def with_user_folder(arguments: list[str]) -> list[str]:
    """Arguments of a Hydra program that also finds configurations in ./conf, where there is one.

    `fibseg new` writes there. A folder that the user names, and the package's own, need no help.
    """
    folder = Path("conf")
    if any(argument.split("=")[0] in FOLDER_FLAGS for argument in arguments):
        return arguments
    if not folder.is_dir() or folder.resolve() == CONF.resolve():
        return arguments
    # In front of the rest, which may begin with -m.
    return [f"--config-dir={folder.absolute()}", *arguments]


def load_description(name_or_path: str) -> DataDescription:
    """A data description by its name in conf/data or by the path of its YAML file.

    A name is looked up in the package, then in conf/data of the current directory, as Hydra does.
    """
    # A name in the package wins, as with Hydra; docs/ARCHITECTURE.md, "Configuration".
    folders = [CONF / "data", Path("conf", "data")]
    paths = [Path(name_or_path), *(folder / f"{name_or_path}.yaml" for folder in folders)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        names = {entry.stem for folder in folders for entry in folder.glob("*.yaml")}
        raise FibsegError(
            f"{name_or_path}: no such data description; "
            f"expected a YAML file or one of {', '.join(sorted(names))}."
        )
    description = description_of(read_plain(path), str(path))
    check_names(description)
    return description


def description_of(content: Any, where: str) -> DataDescription:
    """A data description from plain mappings, which came from the file `where`.

    Raises:
        FibsegError: a key or a value does not fit.
    """
    refuse_resolvers(content, f"{where}: ", allowed=())
    try:
        # Merged into the schema, so that types are checked and unknown keys are refused.
        merged = OmegaConf.merge(OmegaConf.structured(DataDescription), content)
        require_values(cast(DictConfig, merged))
        description = cast(DataDescription, OmegaConf.to_object(merged))
    except (ValueError, OmegaConfBaseException) as error:
        raise FibsegError(f"{where}: {sentence(error)}") from error
    return with_homes(description)
