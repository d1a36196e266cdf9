"""Which windows lose little enough, decided when a run is scored, and what `exactness` prints."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fibseg.filters.channels import Channels
from fibseg.models.trained import TrainedModel, load_model, save_model
from fibseg.prediction import exactness
from fibseg.prediction.exactness import (
    ALLOWED_LOSS,
    Drift,
    choose_windows,
    label_drift,
    measure_drift,
)
from fibseg.prediction.slices import WindowedNetwork, predict_slices, probabilities
from fibseg.prediction.windows import chosen_windows, windows_of
from tests.support import Commands
from tests.support.labelling import CPU
from tests.support.models import trained


def random_channels(count: int = 2) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 1, 70, 90)).astype(np.uint8))


def drift_of(truth: np.ndarray, paper: np.ndarray, labels: np.ndarray) -> Drift:
    return label_drift(
        windows=windows_of(trained([], 1), "whole"),
        names=["background", "er", "none"],
        truths=[truth],
        paper=[paper],
        labels=[labels],
    )


def choice(
    model: TrainedModel,
    channels: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    paper: Sequence[np.ndarray],
) -> dict[str, Any]:
    return choose_windows(model=model, channels=channels, truths=truths, paper=paper, compute=CPU)


def test_a_loss_counts_and_a_gain_does_not() -> None:
    """By hand: er has 8 pixels, of which 6 and 4 are labelled, nothing else: F1 12/14 and 8/12."""
    truth = np.zeros((4, 8), np.uint8)
    truth[0] = 1
    six = np.zeros((4, 8), np.uint8)
    six[0, :6] = 1
    four = np.zeros((4, 8), np.uint8)
    four[0, :4] = 1
    drift = drift_of(truth, paper=six, labels=four)
    assert drift.change["er"] == pytest.approx(8 / 12 - 12 / 14)
    assert math.isnan(drift.change["none"])
    assert drift.loss == pytest.approx(12 / 14 - 8 / 12) and drift.flipped == 2 / 32
    assert drift_of(truth, paper=four, labels=six).loss == 0
    # Without any class there is no evidence that the windows are good enough.
    assert Drift(drift.windows, {"a": math.nan}, 0.0).loss == math.inf


class AboveTheMean(torch.nn.Module):
    """Class 1 where a pixel is above the mean of its window, so labels depend on the windows."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        above = images - images.mean(dim=(-2, -1), keepdim=True)
        return torch.cat([-above, above, -9 - above**2], dim=1)


def test_the_first_that_loses_little_is_chosen_else_the_papers() -> None:
    """Where the paper's labels are the truth every flip is a loss; where the others are, none."""
    model = replace(trained([], 1), network=AboveTheMean())
    images = random_channels()
    labels = {
        kind: list(predict_slices(model, images, windows_of(model, kind), CPU))
        for kind in ("paper", "whole")
    }
    assert (labels["paper"][0] != labels["whole"][0]).mean() > ALLOWED_LOSS
    chosen = choice(model, images, labels["whole"], labels["paper"])
    assert (chosen["kind"], chosen["size"]) == ("whole", 0)
    assert (chosen["loss"], chosen["slices"]) == (0.0, 2)
    chosen = choice(model, images, labels["paper"], labels["paper"])
    assert (chosen["kind"], chosen["size"]) == ("paper", 32)
    assert choice(model, [], [], [])["kind"] == "paper"
    by_patch = replace(model, channels=Channels((9,), "patch"))
    assert choice(by_patch, images, labels["whole"], labels["paper"])["kind"] == "paper"


def test_they_are_tried_from_fast_to_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the first may be needed; tiles that are the whole slice are not tried again."""
    model = trained([], 1)
    image = [np.zeros((1, 700, 1500), np.uint8)]
    truth = np.zeros((1, 700, 1500), np.uint8)
    truth[:, :100] = 1
    tried: list[str] = []

    def choose(good: str, images: list[np.ndarray], truths: np.ndarray) -> str:
        tried.clear()

        def labels(_: object, __: object, windows: object, ___: object) -> list[np.ndarray]:
            tried.append(str(windows))
            return [pixels if str(windows) == good else np.zeros_like(pixels) for pixels in truths]

        monkeypatch.setattr(exactness, "predict_slices", labels)
        chosen = choice(model, images, list(truths), list(truths))
        return f"{chosen['kind']} {chosen['size']}"

    assert choose("tiles 1024", image, truth) == "tiles 1024"
    assert tried == ["whole", "tiles 1024"]
    assert choose("tiles 512", image, truth) == "tiles 512"
    assert tried == ["whole", "tiles 1024", "tiles 512"]
    assert choose("none", image, truth) == "paper 32"
    assert tried == ["whole", "tiles 1024", "tiles 512"]
    assert choose("tiles 512", [image[0][..., :900]], truth[..., :900]) == "tiles 512"
    assert tried == ["whole", "tiles 512"]
    monkeypatch.setattr(exactness, "LARGEST_WHOLE", 700 * 1500 - 1)
    assert choose("whole", image, truth) == "paper 32"
    assert tried == ["tiles 1024", "tiles 512"]


def test_differences_of_probabilities_are_measured() -> None:
    model = trained([], 1)
    images = random_channels()
    (drift,) = measure_drift(
        model=model,
        channels=images,
        truths=[np.zeros((70, 90), np.uint8)] * 2,
        candidates=[windows_of(model, "whole")],
        compute=CPU,
    )
    network = probabilities(model.network.eval())
    paper, whole = (
        np.stack([WindowedNetwork(network, windows, CPU).scores(image) for image in images])
        for windows in (windows_of(model, "paper"), windows_of(model, "whole"))
    )
    assert drift.probability == pytest.approx(np.abs(paper - whole).max(), abs=1e-6)
    assert drift.flipped == pytest.approx((paper.argmax(1) != whole.argmax(1)).mean())
    assert drift.seconds > 0 and drift.paper_seconds > 0


def test_the_choice_is_in_the_checkpoint_and_older_ones_take_the_papers(tmp_path: Path) -> None:
    model = replace(trained([], 1), windows={"kind": "tiles", "size": 512, "loss": 0.001})
    save_model(model, tmp_path / "a.safetensors")
    back = load_model(tmp_path / "a.safetensors")
    assert back.windows == model.windows and str(chosen_windows(back)) == "tiles 512"
    assert str(chosen_windows(replace(model, windows=None))) == "paper 32"


@pytest.mark.slow
def test_a_run_has_its_windows_and_the_command_measures_them(
    finished: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One core filters the slices in this process; more would start processes first.
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    run = tmp_path / finished.run_directory().name
    shutil.copytree(finished.run_directory(), run)
    checkpoint = run / "checkpoints" / "model.safetensors"
    model = load_model(checkpoint)
    assert model.windows is not None and model.windows["slices"] == 2
    save_model(replace(model, windows=None), checkpoint)
    result = finished.run("fibseg", "exactness", run, "--store")
    assert result.returncode == 0, result.stderr
    assert re.search(r"whole +│ [\d.e-]+ +│ [\d.]+%", result.stdout) and "blend 32" in result.stdout
    again = load_model(checkpoint)
    assert again.windows is not None and again.windows["kind"] == model.windows["kind"]
    assert f"predictions cut slices by: {chosen_windows(again)}" in result.stdout
    refused = finished.run("fibseg", "exactness", checkpoint)
    finished.refused(refused, "no config.yaml")
