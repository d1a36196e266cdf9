"""Which windows are good enough, decided when a run is scored, and what `fibseg exactness` prints."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fibseg.models.trained import load_model, save_model
from fibseg.prediction import exactness
from fibseg.prediction.exactness import ALLOWED, Drift, choose_windows, drift, measure_drift
from fibseg.prediction.slices import predict_scores, predict_slices, probabilities
from fibseg.prediction.windows import chosen_windows, windows_of
from tests.support import Commands
from tests.support.models import trained

CPU = torch.device("cpu")


def channels(count: int = 2) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 1, 70, 90)).astype(np.uint8))


def test_a_loss_counts_and_a_gain_does_not() -> None:
    """By hand: er has 8 pixels, 6 found by one and 4 by the other, nothing false: F1 12/14 and 8/12."""
    truth, paper, other = (np.zeros((4, 8), np.uint8) for _ in range(3))
    truth[0], paper[0, :6], other[0, :4] = 1, 1, 1
    windows = windows_of(trained([], 1), "whole")
    found = drift(windows, ["background", "er", "none"], [truth], [paper], [other])
    assert found.change["er"] == pytest.approx(8 / 12 - 12 / 14) and math.isnan(
        found.change["none"]
    )
    assert found.loss == pytest.approx(12 / 14 - 8 / 12) and found.flipped == 2 / 32
    assert drift(windows, ["background", "er", "none"], [truth], [other], [paper]).loss == 0
    assert Drift(windows, {"a": math.nan}, 0.0).loss == math.inf  # nothing speaks for it


def test_the_first_that_loses_little_is_chosen_else_the_papers() -> None:
    """Where the paper's labels are the truth every flip is a loss; where the whole slice's are, none is."""

    class AboveTheMean(torch.nn.Module):
        """Of all it sees: so the labels depend on the window."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            above = images - images.mean(dim=(-2, -1), keepdim=True)
            return torch.cat([-above, above, -9 - above**2], dim=1)

    model = replace(trained([], 1), network=AboveTheMean())
    images = channels()
    labels = {
        kind: list(predict_slices(model, images, windows_of(model, kind), 8, CPU, "32", 1))
        for kind in ("paper", "whole")
    }
    assert (labels["paper"][0] != labels["whole"][0]).mean() > ALLOWED
    chosen = choose_windows(model, images, labels["whole"], labels["paper"], 8, CPU, "32")
    assert (chosen["kind"], chosen["size"], chosen["loss"], chosen["slices"]) == (
        "whole",
        0,
        0.0,
        2,
    )
    chosen = choose_windows(model, images, labels["paper"], labels["paper"], 8, CPU, "32")
    assert (chosen["kind"], chosen["size"]) == ("paper", 32)
    assert choose_windows(model, [], [], [], 8, CPU, "32")["kind"] == "paper"
    by_patch = replace(model, filter_scope="patch", areas=[9])
    assert (
        choose_windows(by_patch, images, labels["whole"], labels["paper"], 8, CPU, "32")["kind"]
        == "paper"
    )


def test_they_are_tried_from_fast_to_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks at what it may lose, and tiles that are the whole slice are not tried twice."""
    model, truth = trained([], 1), np.zeros((1, 700, 1500), np.uint8)
    truth[:, :100], image = 1, [np.zeros((1, 700, 1500), np.uint8)]
    tried: list[str] = []

    def choose(good: str, images: list[np.ndarray], truths: np.ndarray) -> str:
        tried.clear()

        def labels(_: object, __: object, windows: object, *___: object) -> list[np.ndarray]:
            tried.append(str(windows))
            return [one if str(windows) == good else np.zeros_like(one) for one in truths]

        monkeypatch.setattr(exactness, "predict_slices", labels)
        chosen = choose_windows(model, images, list(truths), list(truths), 8, CPU, "32")
        return f"{chosen['kind']} {chosen['size']}"

    assert choose("tiles 1024", image, truth) == "tiles 1024" and tried == ["whole", "tiles 1024"]
    assert choose("tiles 512", image, truth) == "tiles 512" and tried == [
        "whole",
        "tiles 1024",
        "tiles 512",
    ]
    assert choose("none", image, truth) == "paper 32" and tried == [
        "whole",
        "tiles 1024",
        "tiles 512",
    ]
    assert choose("tiles 512", [image[0][..., :900]], truth[..., :900]) == "tiles 512"
    assert tried == ["whole", "tiles 512"]
    monkeypatch.setattr(exactness, "LARGEST", 700 * 1500 - 1)
    assert choose("whole", image, truth) == "paper 32" and tried == ["tiles 1024", "tiles 512"]


def test_differences_of_probabilities_are_measured() -> None:
    model, images = trained([], 1), channels()
    truths = [np.zeros((70, 90), np.uint8)] * 2
    (found,) = measure_drift(model, images, truths, [windows_of(model, "whole")], 8, CPU, "32")
    network = probabilities(model.network.eval())
    both = [
        np.stack([predict_scores(network, one, windows_of(model, kind), 8, CPU) for one in images])
        for kind in ("paper", "whole")
    ]
    assert found.probability == pytest.approx(np.abs(both[0] - both[1]).max(), abs=1e-6)
    assert found.flipped == pytest.approx((both[0].argmax(1) != both[1].argmax(1)).mean())
    assert found.seconds > 0 and found.paper_seconds > 0


def test_the_choice_is_in_the_checkpoint_and_older_ones_take_the_papers(tmp_path: Path) -> None:
    model = replace(trained([], 1), windows={"kind": "tiles", "size": 512, "loss": 0.001})
    save_model(model, tmp_path / "a.ckpt")
    back = load_model(tmp_path / "a.ckpt")
    assert back.windows == model.windows and str(chosen_windows(back)) == "tiles 512"
    assert str(chosen_windows(replace(model, windows=None))) == "paper 32"


@pytest.mark.slow
def test_a_run_knows_its_windows_and_the_command_measures_them(
    finished: Commands, tmp_path: Path
) -> None:
    run = tmp_path / finished.run_directory().name
    shutil.copytree(finished.run_directory(), run)
    model = load_model(run / "checkpoints" / "best.ckpt")
    assert model.windows is not None and model.windows["slices"] == 2
    save_model(replace(model, windows=None), run / "checkpoints" / "best.ckpt")
    result = finished.run("fibseg", "exactness", run, "--store")
    assert result.returncode == 0, result.stderr
    assert re.search(r"whole +│ [\d.e-]+ +│ [\d.]+%", result.stdout) and "blend 32" in result.stdout
    again = load_model(run / "checkpoints" / "best.ckpt")
    assert again.windows is not None and again.windows["kind"] == model.windows["kind"]
    assert f"predict.py cuts slices by: {chosen_windows(again)}" in result.stdout
    refused = finished.run("fibseg", "exactness", run / "checkpoints" / "best.ckpt")
    finished.refused(refused, "no config.yaml")
