"""Pixel classification as Ilastik does it (Berg et al., 2019): a random forest from sampled pixels of a few slices."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.training.opened import OpenedRun, check_model, filter_processes, trained_model

if TYPE_CHECKING:  # heavy imports happen when they are needed
    from fibseg.data.grey import GreyRange
    from fibseg.data.slices import AnnotatedSlice
import csv
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from fibseg.data.grey import GreyRange, to_8bit
from fibseg.data.slices import AnnotatedSlice
from fibseg.errors import FibsegError
from fibseg.filters.slices import slice_channels
from fibseg.models.features import check_size, pixel_features
from fibseg.models.forest import ForestNetwork


def grow(run: OpenedRun) -> None:
    """Train a forest and keep it, with a table of which features counted."""
    from fibseg.models.features import feature_names
    from fibseg.models.trained import save_model

    pass
    from fibseg.files import require_disk

    config, own, start = run.config, run.config.model, time.perf_counter()
    require_disk(run.directory.path, 4 * check_model(config, run.slices), "the forest")
    network = fit_forest(
        run.slices["train"],
        list(config.data.classes),
        run.window,
        config.filter.areas,
        own.slices == "every_other",
        own.pixels,
        own.balance,
        own.trees,
        config.seed,
        run.provenance["threads"],
        filter_processes(config),
        Path(config.machine.cache),
        run.console.print,
    )
    names = feature_names(config.filter.areas)
    rows = write_importances(
        run.directory.path / "features.csv", names, network.importances.numpy()
    )
    run.console.print(f"{own.trees} trees in {time.perf_counter() - start:.0f} s")
    run.console.print(
        "what counted most: " + "; ".join(f"{name} ({share:.1%})" for name, share in rows[:3])
    )
    run.directory.forest.parent.mkdir(exist_ok=True)
    save_model(
        trained_model(config, run.window, "32", network, network.arguments), run.directory.forest
    )


UInt8 = NDArray[np.uint8]
Sample = tuple[NDArray[np.int64], UInt8]
"""Flat positions in a slice, and their class indices."""


def fit_forest(
    slices: Sequence[AnnotatedSlice],
    classes: Sequence[str],
    window: GreyRange,
    areas: Sequence[int],
    every_other: bool,
    pixels: int,
    balance: float,
    trees: int,
    seed: int,
    threads: int,
    processes: int,
    cache: Path | None,
    say: Callable[[str], None],
) -> ForestNetwork:
    """A forest from annotated slices.

    Args:
        slices: to learn from.
        classes: without the background.
        window: grey values that become 0 and 255.
        areas: of the grain filter in pixels; a channel each.
        every_other: use the first, third, ... slice of each volume only.
        pixels: to learn from, in all.
        balance: as in `sample_pixels`.
        trees: how many.
        seed: of pixels and trees.
        threads: that compute.
        processes: that filter.
        cache: folder of filtered slices.
        say: takes a line about what is learned from.

    Raises:
        FibsegError: a class has no pixel in the slices that are used, or a slice is smaller than a feature.
    """
    used = used_slices(slices, every_other)
    samples = sample_pixels(
        [one.labels for one in used], ["background", *classes], pixels, balance, seed
    )
    say(
        f"{sum(len(own) for own, _ in samples)} pixels of {len(used)} of {len(slices)} training slices"
    )
    channels = slice_channels([to_8bit(one.image, window) for one in used], areas, cache, processes)
    return train_forest(channels, samples, 1 + len(classes), trees, seed, threads)


def used_slices(slices: Sequence[AnnotatedSlice], every_other: bool) -> list[AnnotatedSlice]:
    """All, or the first, third, ... of each volume."""
    volumes = sorted({one.volume for one in slices})
    step = 2 if every_other else 1
    return [
        one for volume in volumes for one in [own for own in slices if own.volume == volume][::step]
    ]


def check_slices(
    slices: Sequence[AnnotatedSlice], classes: Sequence[str], every_other: bool
) -> None:
    """FibsegError where a forest cannot learn: a slice smaller than a feature, a class without a pixel.

    Args:
        slices: to learn from.
        classes: background first.
        every_other: as in `fit_forest`.
    """
    for one in slices:
        check_size(*one.labels.shape)
    used = set[int]().union(
        *(np.unique(one.labels).tolist() for one in used_slices(slices, every_other))
    )
    every = set[int]().union(*(np.unique(one.labels).tolist() for one in slices))
    for index, name in enumerate(classes):
        if index not in used:
            way = "take model.slices=all" if index in every else "a forest needs some of each class"
            raise FibsegError(f"no pixel of {name} in the slices to train on; {way}.")


def sample_pixels(
    labels: Sequence[UInt8], names: Sequence[str], budget: int, balance: float, seed: int
) -> list[Sample]:
    """Pixels to train on: of each class a part of `budget` that grows with its pixels to the power of `balance`.

    Args:
        labels: (H, W) class indices of each slice; what is no index of `names` is never drawn.
        names: of the classes, background first.
        budget: pixels in all.
        balance: 0 draws as many of each class, 1 as the classes' shares are.
        seed: of the draw.

    Returns:
        A sample of each slice, in the order of `labels`.

    Raises:
        FibsegError: a class has no pixel.
    """
    generator = np.random.default_rng([seed, 0])
    found: list[list[NDArray[np.int64]]] = [[] for _ in labels]
    counts = np.stack([np.bincount(one.ravel(), minlength=256)[: len(names)] for one in labels])
    totals = counts.sum(axis=0)
    if not totals.all():
        raise FibsegError(
            f"no pixel of {names[int(np.flatnonzero(totals == 0)[0])]} in the slices to train on."
        )
    parts = budget * totals**balance / (totals**balance).sum()
    for index, total in enumerate(totals.tolist()):
        drawn = np.sort(
            generator.choice(total, min(total, max(1, round(parts[index]))), replace=False)
        )
        ends = np.cumsum([0, *counts[:, index]])
        for k, one in enumerate(labels):
            own = drawn[(drawn >= ends[k]) & (drawn < ends[k + 1])] - ends[k]
            found[k].append(np.flatnonzero(one == index)[own])
    positions = [np.sort(np.concatenate(own)) for own in found]
    return [(own, one.ravel()[own]) for own, one in zip(positions, labels, strict=True)]


def train_forest(
    channels: Iterable[UInt8],
    samples: Sequence[Sample],
    classes: int,
    trees: int,
    seed: int,
    threads: int,
) -> ForestNetwork:
    """A forest of trees that are grown to the end; the features of one slice are held at a time.

    Args:
        channels: (C, H, W) of each slice, in the order of `samples`.
        samples: pixels to learn from.
        classes: how many there are; each must be in the samples.
        trees: how many.
        seed: the same seed and samples give the same forest.
        threads: that compute.
    """
    rows, count = [], 1
    for one, (positions, _) in zip(channels, samples, strict=True):
        rows.append(pixel_features(one, threads, positions).T)
        count = len(one)
    trainer = RandomForestClassifier(trees, random_state=seed, n_jobs=threads)
    trainer.fit(np.concatenate(rows), np.concatenate([values for _, values in samples]))
    return from_scikit_learn(trainer, count, classes)


def from_scikit_learn(
    trainer: RandomForestClassifier, channels: int, classes: int
) -> ForestNetwork:
    """The arrays of a trained forest.

    Thresholds become float32, rounded down: features are float32, so the same ones pass.
    """
    trees = [one.tree_ for one in trainer.estimators_]
    inner = np.concatenate([tree.children_left for tree in trees]) >= 0
    values = np.where(
        inner[:, None], 0, np.concatenate([tree.value[:, 0] for tree in trees])
    )  # nobody asks a node
    shares, rows = np.unique(values, axis=0, return_inverse=True)
    exact = np.concatenate([tree.threshold for tree in trees])
    threshold = exact.astype(np.float32)
    threshold = np.where(threshold > exact, np.nextafter(threshold, np.float32(-np.inf)), threshold)
    arrays = {
        "starts": np.cumsum([0, *(tree.node_count for tree in trees)]),
        "left": np.concatenate([tree.children_left for tree in trees]),
        "right": np.concatenate([tree.children_right for tree in trees]),
        "feature": np.concatenate([tree.feature for tree in trees]),
        "threshold": threshold,
        "row": rows.ravel(),
        "shares": shares,
        "importances": trainer.feature_importances_,
    }
    network = ForestNetwork(channels, classes, len(trees), len(threshold), len(shares))
    network.load_state_dict(
        {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
    )
    return network.eval()


def write_importances(
    path: Path, names: Sequence[str], importances: NDArray[np.float64]
) -> list[tuple[str, float]]:
    """A CSV of features and how much each counted (mean decrease of impurity, sum 1), the largest first; its rows."""
    rows = sorted(zip(names, importances.tolist(), strict=True), key=lambda row: -row[1])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("feature", "importance"))
        writer.writerows((name, f"{value:.6f}") for name, value in rows)
    return rows
