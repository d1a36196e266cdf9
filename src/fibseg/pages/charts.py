"""Charts of a comparison, as SVG text that stands in a page by itself."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fibseg.comparison.contrasts import contrasts
from fibseg.comparison.labels import volume_facts
from fibseg.comparison.paired import t_interval
from fibseg.runs.collection import FinishedRun, configurations
from fibseg.runs.components import components_of
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import read_metrics

GREY = "#888888"
"""Of text and frames; in the page it becomes the color of its text."""

STYLE: Any = {
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "fibseg",
    "font.family": "sans-serif",
    "axes.titlesize": 10,
}


CURVES = {"val_f1": "validation F1", "val_loss": "validation loss"}
"""Column of metrics.csv -> title."""

ACROSS = 5
"""Matrices in a row."""


def color_of(number: int) -> Any:
    """Of a configuration, in order; shades after the first ten."""
    name, count = ("tab10", 10) if number < 10 else ("tab20b", 20)
    return colormaps[name].colors[number % count]  # type: ignore[attr-defined]


def _svg(figure: Figure, label: str) -> str:
    """The picture's text, with a description for those who do not see it, and ids of its own."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(GREY, "currentColor")
    own = hashlib.sha256(text.encode()).hexdigest()[:8]
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>c{own}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _legend(figure: Figure, axes: Axes) -> None:
    """Below the charts, where it covers nothing."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=8
        )


def _axes(count: int, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.2 * count, height), layout="constrained")
    return figure, list(np.ravel(figure.subplots(1, count)))


def dots(runs: Sequence[FinishedRun]) -> str:
    """Test F1 of every run, a dot per seed, with mean and 95 % interval over seeds."""
    groups, names = configurations(runs), runs[0].names[1:]
    with mpl.rc_context(STYLE):
        figure, every = _axes(len(names), 1.2 + 0.45 * len(groups))
        for axes, name in zip(every, names, strict=True):
            for row, own in enumerate(groups.values()):
                values = [run.f1("test")[name] for run in own]
                spread = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0.0]
                axes.scatter(values, row + np.asarray(spread), s=14, color=color_of(row), alpha=0.7)
                interval = t_interval(values)
                ends = [[interval.mean - interval.low], [interval.high - interval.mean]]
                axes.errorbar(
                    interval.mean,
                    row,
                    xerr=None if np.isnan(ends).any() else ends,
                    fmt="|",
                    color=GREY,
                    capsize=4,
                )
            axes.set_yticks(
                range(len(groups)), list(groups) if axes is every[0] else [""] * len(groups)
            )
            axes.invert_yaxis()
            axes.set_title(name)
            axes.set_xlabel("test F1")
        return _svg(figure, "test F1 of every run by class, with intervals over seeds")


def curves(runs: Sequence[FinishedRun]) -> str:
    """Validation F1 and loss over the epochs: median and range over seeds; empty where no run kept its metrics."""
    with mpl.rc_context(STYLE):
        figure, every = _axes(2)
        drawn = False
        for row, (label, own) in enumerate(configurations(runs).items()):
            tables = []
            for run in own:
                try:
                    tables.append(read_metrics(RunDirectory(run.path).metrics))
                except (OSError, ValueError):
                    continue
            for axes, (key, title) in zip(every, CURVES.items(), strict=True):
                length = min((len(table) for table in tables), default=0)
                if length == 0 or any(key not in table[0] for table in tables):
                    continue
                values = np.array([[line[key] for line in table[:length]] for table in tables])
                epochs = np.arange(1, length + 1)
                axes.plot(epochs, np.median(values, axis=0), color=color_of(row), label=label)
                axes.fill_between(
                    epochs, values.min(axis=0), values.max(axis=0), color=color_of(row), alpha=0.15
                )
                axes.set_title(title)
                axes.set_xlabel("epoch")
                drawn = True
        if not drawn:
            return ""
        _legend(figure, every[0])
        return _svg(figure, "learning curves, median and range over seeds")


def along_z(runs: Sequence[FinishedRun]) -> str:
    """Test F1 of each slice, mean over the seeds of a configuration, a line for each volume; descriptive."""
    lines = {
        label: np.array([run.f1_by_slice("test") for run in own]).mean(axis=0)
        for label, own in configurations(runs).items()
    }
    return _lines(runs, lines, "test F1, mean over seeds", "test F1 of each slice along z")


def differences(runs: Sequence[FinishedRun]) -> str:
    """What filter and model add on each slice, mean over seeds; descriptive. Empty without a contrast."""
    lines: dict[str, Any] = {}
    for one in contrasts(runs):
        if one.kind in ("filter", "model"):
            values = lines.setdefault(
                f"{one.second} less {one.first}",
                np.full((len(one.by_slice), len(runs[0].names)), np.nan),
            )
            values[:, runs[0].names.index(one.class_name)] = one.by_slice
    return (
        _lines(runs, lines, "difference of test F1", "differences of each slice along z")
        if lines
        else ""
    )


def _lines(runs: Sequence[FinishedRun], lines: dict[str, Any], what: str, label: str) -> str:
    """Values (S, K) of each line along the test slices; the slices that were trained on are marked below."""
    names, places = runs[0].names[1:], runs[0].places["test"]
    volumes, facts = sorted({volume for volume, _ in places}), volume_facts(runs[0])
    with mpl.rc_context(STYLE):
        figure, every = _axes(len(names))
        for k, axes in enumerate(every):
            for row, (name, values) in enumerate(lines.items()):
                for volume in volumes:
                    own = sorted((z, i) for i, (of, z) in enumerate(places) if of == volume)
                    heights = [values[i, k + 1] for _, i in own]
                    said = name if volume == volumes[0] else None
                    axes.plot([z for z, _ in own], heights, ".-", color=color_of(row), label=said)
            axes.set_title(names[k])
            axes.set_xlabel(
                "slice"
                + (" (ticks below: trained on)" if len(volumes) == 1 else ", a line per volume")
            )
            trained = facts.trained[volumes[0]] if facts and len(volumes) == 1 else []
            axes.plot(
                trained,
                [0.02] * len(trained),
                "|",
                color=GREY,
                transform=axes.get_xaxis_transform(),
            )
        every[0].set_ylabel(what)
        _legend(figure, every[0])
        return _svg(figure, label)


def confusion(runs: Sequence[FinishedRun]) -> str:
    """Shares of the true pixels of each class, per configuration, over all runs."""
    groups, names = configurations(runs), runs[0].names
    across, down = min(ACROSS, len(groups)), -(-len(groups) // ACROSS)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * across, 3.4 * down), layout="constrained")
        every = list(np.ravel(figure.subplots(down, across)))
        for axes in every[len(groups) :]:
            axes.set_axis_off()
        for axes, (label, own) in zip(every, groups.items(), strict=False):
            counts = np.sum([run.confusions["test"].sum(axis=0) for run in own], axis=0).astype(
                float
            )
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
            for row, column in np.ndindex(shares.shape):
                dark = "white" if shares[row, column] > 0.6 else "black"
                axes.text(
                    column,
                    row,
                    f"{shares[row, column]:.1%}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=dark,
                )
            axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=7)
            axes.set_yticks(range(len(names)), names, fontsize=7)
            axes.set_title(label, fontsize=9)
        every[0].set_ylabel("truth")
        return _svg(figure, "confusion matrices, rows truth, columns prediction")


def recall_by_size(runs: Sequence[FinishedRun]) -> str:
    """How much of a true component is found, against its area; mean over runs, in bins of area."""
    names = runs[0].names[1:]
    with mpl.rc_context(STYLE):
        figure, every = _axes(len(names))
        drawn = False
        for row, (label, own) in enumerate(configurations(runs).items()):
            for axes, name in zip(every, names, strict=True):
                of_class = [components_of(run.path, "test", name) for run in own]
                areas = np.concatenate([one.area[one.of_truth] for one in of_class])
                shares = np.concatenate([one.share[one.of_truth] for one in of_class])
                if len(areas) < 2:
                    continue
                edges = np.unique(np.geomspace(areas.min(), areas.max() + 1, 7))
                bins = np.digitize(areas, edges)
                middles = [
                    (np.exp(np.log(areas[bins == k]).mean()), shares[bins == k].mean())
                    for k in np.unique(bins)
                ]
                axes.semilogx(*zip(*middles, strict=True), ".-", color=color_of(row), label=label)
                axes.set_title(name)
                axes.set_xlabel("area of a true component, pixels")
                drawn = True
        if not drawn:
            return ""
        every[0].set_ylabel("share that is found")
        _legend(figure, every[0])
        return _svg(figure, "recall against component size")
