"""The same programs for a notebook: plain values in, arrays, dataclasses and data frames out.

`import fibseg` offers these functions under its own name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.config import compose as configuration
from fibseg.data import slices as data_slices
from fibseg.data.description import DataDescription
from fibseg.data.scoring import score_stacks
from fibseg.errors import FibsegError
from fibseg.interface.frames import Comparison, pandas_or_error
from fibseg.interface.labelling import opened
from fibseg.machine import plain_console
from fibseg.runs import collection as run_collection
from fibseg.runs.directory import find_checkpoint
from fibseg.runs.finished import FinishedRun, read_run
from fibseg.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from PIL.Image import Image

    from fibseg.data.volume import AnnotatedSlice
    from fibseg.models.trained import TrainedModel


def load_slices(
    data: str | Path | DataDescription, root: str | Path | None = None
) -> dict[str, list[AnnotatedSlice]]:
    """Annotated slices of a data set by split: train, validation, test, second_expert.

    Args:
        data: name of a data description, path of its YAML file, or the description itself.
        root: folder of the files, in place of the one that the description names.

    Raises:
        FibsegError: the description does not fit the files.
    """
    description = _described(data)
    if root is not None:
        description = replace(description, root=str(root))
    return data_slices.load_slices(description)


def train(
    data: str | Path,
    model: str = "unet",
    filter: str | Sequence[int] = "off",
    seed: int = 0,
    experiment: str | None = None,
    root: str | Path | None = None,
    runs: str | Path = "runs",
    settings: Mapping[str, Any] | None = None,
) -> FinishedRun:
    """Train and score one run, as `fibseg train` does; a broken run is resumed.

    Args:
        data: name of a data description, or path of its YAML file.
        model: kind of model: unet, eunet, forest.
        filter: "on", "off", or the areas of the grain filter in pixels.
        seed: of the training.
        experiment: a recipe, as "quick"; None trains as the paper did.
        root: folder of the data's files, in place of the one that the description names.
        runs: folder of run directories.
        settings: values of further keys, as {"training.epochs": 3}.

    Raises:
        FibsegError: a mistake in the data or in a value.
    """
    from fibseg.config.calls import composed_run
    from fibseg.training.run import train_or_report

    areas = None if isinstance(filter, str) else list(filter)
    overrides = {"model": model, "filter": filter if areas is None else "on", "seed": seed}
    overrides |= {} if areas is None else {"filter.areas": areas}
    overrides |= {} if experiment is None else {"experiment": experiment}
    overrides |= {} if root is None else {"data.root": str(root)}
    # The cache goes with the runs, or a notebook would make a folder runs/ beside itself.
    overrides |= {"machine.runs": str(runs), "machine.cache": str(Path(runs) / "cache")}
    # Last, so that settings win over the arguments.
    overrides |= dict(settings or {})
    with composed_run(data, overrides) as composed, same_threads():
        train_or_report(
            config=composed.config,
            plain=composed.plain,
            overrides=composed.overrides,
            directory=composed.directory,
            console=plain_console(soft_wrap=True),
        )
    return read_run(composed.directory.path)


def load_model(run: str | Path) -> TrainedModel:
    """The trained model of a run directory, or of a model file (also .onnx, or a bioimage.io .zip).

    Raises:
        FibsegError: there is no model, or its file is damaged.
    """
    from fibseg.models.foreign.opening import open_model

    return open_model(find_checkpoint(Path(run)))


def score(
    prediction: Stack | Pixels | str | Path,
    labels: Stack | Pixels | str | Path,
    data: str | Path | DataDescription | None = None,
    slices: Sequence[int] | None = None,
) -> pd.DataFrame:
    """F1 and components of a prediction against labels: a row for each class.

    Args:
        prediction: (Z, H, W) label values, an opened stack, or its path.
        labels: the truth, likewise.
        data: data description that names the classes; without it every value but 0 and 255 is one.
        slices: positions of the slices that are scored; without them, all.

    Raises:
        FibsegError: the stacks differ in shape, or a value is claimed by no class.
    """
    description = None if data is None else _described(data)
    scores = score_stacks(opened(prediction), opened(labels), description, slices)
    rows = [asdict(class_score) for class_score in scores]
    # Counts of components become columns of their own.
    frame = pandas_or_error().DataFrame([row | row.pop("detection") for row in rows])
    return frame.rename(columns={"name": "class"}).set_index("class")


def picture(image: Pixels, labels: Pixels | None = None, opacity: float = 0.5) -> Image:
    """A slice as a picture that a notebook shows, with labels in colour over it.

    Args:
        image: (H, W) grey values of any type; the darkest and brightest become black and white.
        labels: (H, W) class indices; background stays grey, and unannotated pixels become dark.
        opacity: of the colours.
    """
    from PIL import Image

    from fibseg.data.description import IntensityDescription
    from fibseg.data.grey import grey_range, to_8bit
    from fibseg.pages.figures import overlay

    grey = to_8bit(image, grey_range([image], IntensityDescription(0.1, 99.9)))
    classes = np.zeros(grey.shape, np.uint8) if labels is None else labels.astype(np.uint8)
    return Image.fromarray(overlay(grey, classes, opacity))


def collect(folders: str | Path | Sequence[str | Path]) -> Comparison:
    """Finished runs of one data set among folders.

    Raises:
        FibsegError: there is no finished run, or the runs are of several data sets.
    """
    from fibseg.comparison.dataset import datasets_of

    paths = [folders] if isinstance(folders, str | Path) else list(folders)
    datasets = datasets_of(run_collection.collect(paths))
    if len(datasets) != 1:
        names = ", ".join(dataset.name for dataset in datasets) or "none"
        raise FibsegError(f"{paths}: expected runs of one data set, found {names}.")
    return Comparison(datasets[0])


@contextmanager
def same_threads() -> Iterator[None]:
    """Give torch back its number of threads at the end: a training sets its own."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _described(data: str | Path | DataDescription) -> DataDescription:
    if isinstance(data, DataDescription):
        return data
    return configuration.load_description(str(data))
