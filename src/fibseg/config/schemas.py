"""Types of conf/, as dataclasses without defaults: values live in YAML."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Any

from fibseg.data.description import (
    BackgroundDescription,
    ClassDescription,
    DataDescription,
    IntensityDescription,
    PhantomDescription,
    SecondExpert,
    VolumeDescription,
)
from fibseg.data.sampling import Augmentation
from fibseg.filters.channels import Channels
from fibseg.models.kinds import KINDS, Kind, model_kind


# No class is frozen, which breaks the composition of Hydra, and none has defaults: a value in YAML
# and in Python would be given twice.
@dataclass
class FilterConfig:
    """Areas of the grain filter, in pixels or as shares of a patch ("1%"), and what it filters."""

    name: str
    # Numbers or texts: OmegaConf has no list of unions.
    areas: list[Any]
    scope: str


def _model_schema(name: str, kind: Kind) -> type:
    """The dataclass of a kind of model, from its entry in the table: `architecture`, then its keys.

    It becomes an attribute of this module, so that a composed configuration can be pickled: that is
    how the runs of a sweep reach their processes.
    """
    # Made from the table of kinds, so that a new network needs no class here.
    schema = make_dataclass(
        f"{name.capitalize()}Config", [("architecture", str), *kind.keys.items()]
    )
    # pickle finds a class by its module and its name.
    schema.__module__ = __name__
    schema.__doc__ = f"Keys of conf/model/{name}.yaml."
    globals()[schema.__name__] = schema
    return schema


MODEL_SCHEMAS: dict[str, type] = {name: _model_schema(name, kind) for name, kind in KINDS.items()}
"""Name in `model=` -> dataclass of its keys."""


@dataclass
class PatchesConfig:
    """Side of a patch in pixels, share of patches around a class, and validation patches."""

    size: int
    class_share: float
    validation_seed: int
    fresh_validation: bool


@dataclass
class TrainingConfig:
    """Length, optimizer and loss; `precision` is 32, bf16, or auto: what the device gains from."""

    epochs: int
    batches: int
    validation_batches: int
    batch_size: int
    learning_rate: float
    # OmegaConf hands tuples over as lists, whose length `checks` has to check.
    betas: list[float]
    eps: float
    schedule: str
    cross_entropy: float
    ema: float
    select: str
    precision: str
    compile: bool


@dataclass
class TrackingConfig:
    """Where W&B puts the run, and how often a picture is made (epochs; 0 for never)."""

    project: str
    entity: str | None
    tags: list[str]
    images_every: int


@dataclass
class MachineConfig:
    """Where things are and run; none of it is science."""

    runs: str
    cache: str
    device: str
    threads: int | None
    processes: int | None
    window_batch: int


@dataclass
class TrainConfig:
    """conf/train.yaml."""

    name: str
    seed: int
    data: DataDescription
    filter: FilterConfig
    # One of MODEL_SCHEMAS. OmegaConf has no union of schemas, so that conf/model brings its own.
    model: Any
    patches: PatchesConfig
    augmentation: Augmentation
    training: TrainingConfig
    windows: str
    decision: str
    smallest: str
    init_from: str | None
    logger: list[str]
    tracking: TrackingConfig
    machine: MachineConfig

    @property
    def kind(self) -> Kind:
        """What kind of model is trained."""
        return model_kind(self.model.architecture)

    @property
    def channels(self) -> Channels:
        """What the model sees of a slice."""
        return Channels(tuple(self.filter.areas), self.filter.scope, self.data.context)


@dataclass
class PredictConfig:
    """conf/predict.yaml."""

    checkpoint: str
    best: int
    configuration: str | None
    tta: str
    image: str
    output: str
    probabilities: str | None
    disagreement: str | None
    instances: str | None
    zarr: str
    overwrite: bool
    skip_unreadable: bool
    voxel_size: list[float] | None
    resample: bool
    intensity: str
    adapt: str
    windows: str
    tile: int
    precision: str
    device: str
    threads: int | None
    processes: int | None
    window_batch: int


GROUPS = ("data", "filter", "size", "model", "model_size", "augmentation", "loss", "experiment")
"""Groups of conf/, of which a command line chooses entries by name."""

PATHS = (
    "checkpoint",
    "image",
    "output",
    "probabilities",
    "disagreement",
    "instances",
    "data.root",
    "init_from",
    "machine.runs",
    "machine.cache",
    "model.weights",
    "model.project",
    "model.executable",
)
"""Keys whose values are paths: any letter may be in them, and `~` begins the home directory."""

SCHEMAS: dict[str, type] = {
    schema.__name__: schema
    for schema in (
        *MODEL_SCHEMAS.values(),
        TrainConfig,
        FilterConfig,
        PatchesConfig,
        Augmentation,
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
}
"""Every class of the configuration by its name, which OmegaConf's errors give for a wrong key."""
