"""Whether probabilities are to be believed: the share of right pixels over the largest probability.

python -m benchmarks.reliability RUN --root DIR --picture docs/pictures/reliability.svg

The test slices of a run are labelled with and without its decision, whose temperature and offsets
were chosen on the validation slices. The table holds the expected calibration error, the mean
distance of the curve from the diagonal (Guo et al., ICML 2017, arXiv:1706.04599).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from sklearn.calibration import calibration_curve
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from benchmarks.scored import ScoredRun, open_scored
from benchmarks.svg import CHART_STYLE, svg_text
from fibseg.arrays import IGNORE
from fibseg.prediction.slices import slice_scores
from fibseg.prediction.windows import chosen_windows

BINS = 15


def pixels_of(scored: ScoredRun, decided: bool) -> tuple[Tensor, Tensor]:
    """Probabilities (n, K) and classes (n,) of all annotated pixels."""
    model = scored.model if decided else replace(scored.model, decision=None)
    windows = chosen_windows(model)
    scores = slice_scores(model, scored.channels, windows, scored.compute)
    probabilities = []
    classes = []
    for values, annotated in zip(scores, scored.slices, strict=True):
        known = annotated.labels != IGNORE
        probabilities.append(torch.from_numpy(values[:, known]).softmax(0).T)
        classes.append(torch.from_numpy(annotated.labels[known]).long())
    return torch.cat(probabilities), torch.cat(classes)


def main() -> None:
    """Print the errors and draw the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--root", help="of the data, in place of the run's")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    scored = open_scored(options.run, options.root, torch.device("cpu"))
    print("| probabilities | calibration error |\n|---|---|")
    with mpl.rc_context(CHART_STYLE):
        figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
        axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
        for name, decided in (("as trained", False), ("with the decision", True)):
            probabilities, classes = pixels_of(scored, decided)
            error = multiclass_calibration_error(
                probabilities, classes, probabilities.shape[1], n_bins=BINS
            )
            print(f"| {name} | {float(error):.3f} |")
            largest, chosen = probabilities.max(1)
            right, mean = calibration_curve(
                (chosen == classes).numpy(), largest.numpy().clip(0, 1), n_bins=BINS
            )
            axes.plot(mean, right, marker="o", markersize=4, label=name)
        axes.set_xlabel("largest probability of a pixel")
        axes.set_ylabel("share of right pixels")
        axes.legend()
        if options.picture:
            text = svg_text(figure, "share of right pixels over the largest probability")
            options.picture.write_text(text)


if __name__ == "__main__":
    main()
