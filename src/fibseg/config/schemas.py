"""Types of conf/, as dataclasses without defaults: values live in YAML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fibseg.data.description import DataDescription


@dataclass
class FilterConfig:
    """Areas of the grain filter in pixels, or as shares of a patch ("1%"): a channel each; scope: slice or patch."""

    name: str
    areas: list[Any]
    scope: str


@dataclass
class UNetConfig:
    """Arguments of models.unet.UNet."""

    architecture: str
    width: int
    dropout: float
    norm_momentum: float
    norm_eps: float
    block_order: str


@dataclass
class EfficientUNetConfig:
    """Arguments of models.efficient_unet.EfficientUNet, and where its encoder starts."""

    architecture: str
    encoder: str
    width: int
    drop_path: float
    norm_momentum: float
    norm_eps: float
    pretrained: bool
    weights: str | None


@dataclass
class ForestConfig:
    """A random forest: trees, pixels to learn from and how they are drawn, training slices ("every_other", "all")."""

    architecture: str
    trees: int
    pixels: int
    balance: float
    slices: str


@dataclass
class IlastikConfig:
    """Ilastik's own pixel classification: a project file, the program (null: looked for), and classes of its labels."""

    architecture: str
    project: str
    executable: str | None
    labels: list[str] | None


ModelConfig = UNetConfig | EfficientUNetConfig | ForestConfig | IlastikConfig


@dataclass
class PatchesConfig:
    """Side of a patch in pixels, share of patches centred on a class, seed of the validation patches."""

    size: int
    class_share: float
    validation_seed: int
    fresh_validation: bool


@dataclass
class TrainingConfig:
    """Length, optimizer and loss; `precision` is 32, bf16 or auto (bf16 where the device computes with it)."""

    epochs: int
    batches: int
    validation_batches: int
    batch_size: int
    learning_rate: float
    betas: list[float]
    eps: float
    schedule: str
    cross_entropy: float
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
    model: (
        Any  # a ModelConfig: OmegaConf knows no union of schemas, so conf/model puts its own one in
    )
    patches: PatchesConfig
    training: TrainingConfig
    windows: str
    init_from: str | None
    logger: list[str]
    tracking: TrackingConfig
    machine: MachineConfig


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
    overwrite: bool
    skip_unreadable: bool
    voxel_size: list[float] | None
    resample: bool
    windows: str
    tile: int
    shards: int
    shard: int
    precision: str
    device: str
    threads: int | None
    processes: int | None
    window_batch: int
