"""A run composed from Python values, as a command composes it from what was typed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from fibseg.config import compose as configuration
from fibseg.config.command_line import quoted
from fibseg.config.descriptions import require_plain
from fibseg.config.messages import sentence
from fibseg.config.schemas import GROUPS, TrainConfig
from fibseg.errors import FibsegError
from fibseg.runs.directory import RunDirectory
from fibseg.runs.masking import without_secrets

_FILE = "description"
"""Name under which Hydra finds a description that a caller gave as a file.

A file may be called as one of the package's own, which would win.
"""


@dataclass(frozen=True)
class ComposedRun:
    """A run that can be opened.

    Attributes:
        config: the composed configuration.
        plain: the same as plain mappings.
        overrides: as they would be typed.
        directory: of the run.
    """

    config: TrainConfig
    plain: dict[str, Any]
    overrides: list[str]
    directory: RunDirectory


@contextmanager
def composed_run(data: str | Path, overrides: Mapping[str, Any]) -> Iterator[ComposedRun]:
    """Compose a run; Hydra's global state is the caller's again at the end.

    Args:
        data: name of a data description, or path of its YAML file.
        overrides: key -> value of the configuration.

    Raises:
        FibsegError: an unknown key or choice, or an impossible value.
    """
    configuration.register()
    # A notebook lives long, and conf/ may have been edited since the last call.
    configuration.forget_usual_configs()
    callers_hydra = GlobalHydra.instance().hydra
    callers_config = HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="fibseg-") as folder,
            initialize_config_dir(str(configuration.CONF), version_base="1.3"),
        ):
            try:
                run = _compose(data, overrides, Path(folder))
            except (HydraException, OmegaConfBaseException) as error:
                raise FibsegError(sentence(error)) from error
            yield run
    finally:
        GlobalHydra.instance().hydra = callers_hydra
        HydraConfig.instance().cfg = callers_config


def _compose(data: str | Path, overrides: Mapping[str, Any], folder: Path) -> ComposedRun:
    """Compose within an initialized Hydra; `folder` takes the description of a file."""
    name = str(data)
    if Path(name).is_file():
        # Hydra finds a description as DIR/data/NAME.yaml only.
        require_plain([Path(name)])
        (folder / "data").mkdir()
        shutil.copy(name, folder / "data" / f"{_FILE}.yaml")
        name = _FILE
    else:
        require_plain([Path("conf", "data", f"{name}.yaml")])
    # `fibseg new` writes to conf/ in the current directory.
    folders = [place.absolute() for place in (folder, Path("conf")) if place.is_dir()]
    search = configuration.search_path([f"file://{place}" for place in folders])
    values = {"data": name, **overrides}
    typed = [_override(key, value) for key, value in values.items()]
    composed = compose("train", overrides=[search, *typed], return_hydra_config=True)
    # The name of a run depends on the choices of groups, which Hydra keeps here.
    HydraConfig.instance().set_config(composed)
    config, plain = configuration.train_config(configuration.without_hydra(composed))
    directory = RunDirectory(configuration.run_path(config, plain))
    return ComposedRun(config, plain, without_secrets(typed), directory)


def _override(key: str, value: Any) -> str:
    """`key=value` in Hydra's grammar."""
    if isinstance(value, str):
        # Choices of groups are typed plain, as scores.json records them.
        return f"{key}={value}" if key in GROUPS else f"{key}={_in_grammar(value)}"
    return f"{key}={_in_grammar(value)}"


def _in_grammar(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, str):
        return quoted(value)
    # YAML spells them true, false and null.
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_in_grammar, value))}]"
    return str(value)
