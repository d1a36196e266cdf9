"""Pixel classification as Ilastik does it: a random forest from sampled pixels of a few slices.

Berg et al., Nature Methods 2019, doi:10.1038/s41592-019-0582-9; Breiman, Machine Learning 2001,
doi:10.1023/A:1010933404324.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier

from fibseg.arrays import Floats, Ints, UInt8
from fibseg.data.description import class_names
from fibseg.data.grey import to_8bit
from fibseg.data.volume import AnnotatedSlice
from fibseg.errors import FibsegError
from fibseg.files import replacing, require_disk
from fibseg.filters.slices import slice_channels
from fibseg.models.features import check_size, feature_names, pixel_features
from fibseg.models.forest import ForestNetwork
from fibseg.models.kinds import BYTES_PER_NUMBER
from fibseg.models.trained import keep_model, training_facts
from fibseg.spreadsheets import text_cell
from fibseg.training.opened import OpenedRun, check_model, describe_model

Sample = tuple[Ints, UInt8]
"""Flat positions (N,) in a slice, and their class indices (N,)."""


def grow(run: OpenedRun) -> float:
    """Train a forest and keep it, with a table of how much each feature counted; gives the seconds.

    Raises:
        FibsegError: a class has no pixel in the slices that are used, a slice is smaller than a
            feature, or the disk is too small.
    """
    start = time.perf_counter()
    config = run.config
    # Estimated first, so that a full disk is reported before the forest is grown.
    needed = BYTES_PER_NUMBER * check_model(config, run.slices)
    require_disk(run.directory.path, needed, "the forest")
    network = fit_forest(run)
    areas = config.filter.areas
    rows = write_importances(
        run.directory.path / "features.csv", feature_names(areas), network.importances.numpy()
    )
    seconds = time.perf_counter() - start
    best = "; ".join(f"{name} ({share:.1%})" for name, share in rows[:3])
    run.console.print(f"{config.model.trees} trees in {seconds:.0f} s")
    run.console.print(f"what counted most: {best}")
    model = describe_model(
        config=config,
        grey=run.grey_range,
        precision="32",
        network=network,
        arguments=network.arguments,
    )
    keep_model(replace(model, training=training_facts(run.provenance)), run.directory)
    return time.perf_counter() - start


def fit_forest(run: OpenedRun) -> ForestNetwork:
    """Train a forest on the training slices of a run.

    Raises:
        FibsegError: a class has no pixel in the slices that are used, or a slice is smaller than a
            feature.
    """
    config = run.config
    model = config.model
    names = class_names(config.data)
    training = run.slices["train"]
    used = used_slices(training, model.slices == "every_other")
    labels = [annotated.labels for annotated in used]
    samples = sample_pixels(
        labels=labels,
        names=names,
        budget=model.pixels,
        balance=model.balance,
        seed=config.seed,
    )
    count = sum(len(positions) for positions, _ in samples)
    run.console.print(f"{count} pixels of {len(used)} of {len(training)} training slices")
    images = [to_8bit(annotated.image, run.grey_range) for annotated in used]
    return train_forest(
        channels=slice_channels(images, config.filter.areas, run.cache, run.filter_threads),
        samples=samples,
        classes=len(names),
        trees=model.trees,
        seed=config.seed,
        threads=run.provenance["threads"],
    )


def used_slices(slices: Sequence[AnnotatedSlice], every_other: bool) -> list[AnnotatedSlice]:
    """Choose all slices, or every other one of each volume, as the paper gave Ilastik."""
    step = 2 if every_other else 1
    used = []
    for volume in sorted({annotated.volume for annotated in slices}):
        # In each volume by itself, so that every volume keeps half of its slices.
        used += [annotated for annotated in slices if annotated.volume == volume][::step]
    return used


def check_slices(
    slices: Sequence[AnnotatedSlice], classes: Sequence[str], every_other: bool
) -> None:
    """Refuse slices that a forest cannot learn from: too small for a feature, or without a class.

    Args:
        slices: training slices.
        classes: names of the classes, background first.
        every_other: as in `used_slices`.
    """
    for annotated in slices:
        check_size(*annotated.labels.shape)
    used = _classes_in(used_slices(slices, every_other))
    everywhere = _classes_in(slices)
    for index, name in enumerate(classes):
        if index not in used:
            missing = "a forest needs some of each class"
            advice = "take model.slices=all" if index in everywhere else missing
            raise FibsegError(f"no pixel of {name} in the slices to train on; {advice}.")


def _classes_in(slices: Sequence[AnnotatedSlice]) -> set[int]:
    return set[int]().union(*(np.unique(annotated.labels).tolist() for annotated in slices))


def sample_pixels(
    labels: Sequence[UInt8], names: Sequence[str], budget: int, balance: float, seed: int
) -> list[Sample]:
    """Draw pixels to train on.

    The part of `budget` that a class gets grows with its number of pixels to the power of
    `balance`.

    Args:
        labels: (H, W) class indices of each slice; values that are no index of `names` are never
            drawn.
        names: of the classes, background first.
        budget: pixels in all.
        balance: 0 draws as many pixels of each class, 1 as the classes' shares are.
        seed: of the draw.

    Returns:
        A sample of each slice, in the order of `labels`.

    Raises:
        FibsegError: a class has no pixel.
    """
    generator = np.random.default_rng([seed, 0])
    counts = np.stack(
        # Of the 256 values of uint8 the first are classes; IGNORE is cut off.
        [np.bincount(pixels.ravel(), minlength=256)[: len(names)] for pixels in labels]
    )
    totals = counts.sum(axis=0)
    if not totals.all():
        absent = names[int(np.flatnonzero(totals == 0)[0])]
        raise FibsegError(f"no pixel of {absent} in the slices to train on.")
    # Between equal parts (0), which find too much of rare classes, and their shares (1), which miss
    # them.
    parts = budget * totals**balance / (totals**balance).sum()
    positions: list[list[Ints]] = [[] for _ in labels]
    for index, total in enumerate(totals.tolist()):
        # At least one pixel: a forest never predicts a class that it has not seen.
        wanted = min(total, max(1, round(parts[index])))
        drawn = np.sort(generator.choice(total, wanted, replace=False))
        # Pixels of a class are numbered through all slices: numbers from ends[k] on lie in slice k.
        ends = np.cumsum([0, *counts[:, index]])
        for k, pixels in enumerate(labels):
            in_slice = drawn[(drawn >= ends[k]) & (drawn < ends[k + 1])] - ends[k]
            positions[k].append(np.flatnonzero(pixels == index)[in_slice])
    # In the order of the slice: bootstrap samples go by position, so the order is part of the
    # result.
    ordered = [np.sort(np.concatenate(parts_of_slice)) for parts_of_slice in positions]
    return [(flat, pixels.ravel()[flat]) for flat, pixels in zip(ordered, labels, strict=True)]


def train_forest(
    channels: Iterable[UInt8],
    samples: Sequence[Sample],
    classes: int,
    trees: int,
    seed: int,
    threads: int,
) -> ForestNetwork:
    """Train a forest of trees that grow to the end; features of one slice are held at a time.

    Args:
        channels: (C, H, W) of each slice, in the order of `samples`.
        samples: pixels to learn from.
        classes: number of classes, background included; each must be in the samples.
        trees: number of trees.
        seed: the same seed and samples give the same forest.
        threads: number of threads that compute.
    """
    features = []
    channel_count = 1
    for slice_channel, (positions, _) in zip(channels, samples, strict=True):
        # (N, F): only the sampled pixels of a slice are kept, or the features would fill the
        # memory.
        features.append(pixel_features(slice_channel, threads, positions).T)
        channel_count = len(slice_channel)
    # scikit-learn's defaults: trees grow to the end, and each split tries as many features as the
    # root of their number.
    trainer = RandomForestClassifier(trees, random_state=seed, n_jobs=threads)
    labels = np.concatenate([values for _, values in samples])
    trainer.fit(np.concatenate(features), labels)
    return from_scikit_learn(trainer, channel_count, classes)


def from_scikit_learn(
    trainer: RandomForestClassifier, channels: int, classes: int
) -> ForestNetwork:
    """Copy the arrays of a trained forest."""
    trees = [estimator.tree_ for estimator in trainer.estimators_]
    # scikit-learn gives a leaf -1 for both children.
    inner = np.concatenate([tree.children_left for tree in trees]) >= 0
    # (M, K): shares of the classes, since scikit-learn 1.3; counts before.
    values = np.concatenate([tree.value[:, 0] for tree in trees])
    # Only leaves are asked for their shares: zeros elsewhere leave fewer rows to keep.
    shares, rows = np.unique(np.where(inner[:, None], 0, values), axis=0, return_inverse=True)
    # Features are float32, so that thresholds rounded down to float32 let the same pixels pass.
    exact = np.concatenate([tree.threshold for tree in trees])
    threshold = exact.astype(np.float32)
    below = np.nextafter(threshold, np.float32(-np.inf))
    threshold = np.where(threshold > exact, below, threshold)
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
    network = ForestNetwork(
        channels=channels,
        classes=classes,
        trees=len(trees),
        nodes=len(threshold),
        rows=len(shares),
    )
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()
    }
    network.load_state_dict(tensors)
    return network.eval()


def write_importances(
    path: Path, names: Sequence[str], importances: Floats
) -> list[tuple[str, float]]:
    """Write a CSV of how much each feature counted, the largest first; gives its rows.

    The measure is the mean decrease of impurity; all of them add up to 1.
    """
    rows = sorted(zip(names, importances.tolist(), strict=True), key=lambda row: -row[1])
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("feature", "importance"))
        writer.writerows((text_cell(name), f"{value:.6f}") for name, value in rows)
    return rows
