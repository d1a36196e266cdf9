"""The best epoch by whole validation slices, in place of the loss of patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fibseg.data.grey import to_8bit
from fibseg.data.slices import load_slices
from fibseg.models.trained import load_model
from fibseg.prediction.slices import model_channels, predict_slices
from fibseg.prediction.windows import windows_of
from fibseg.scores.pixels import confusion_counts, mean_f1
from fibseg.training.callbacks import selection_loss
from tests.support import Commands, describe
from tests.support.labelling import CPU
from tests.support.trainings import history


def f1_of_slices(run: Path, data: Path) -> float:
    """Mean F1 of the classes over the validation slices, by the model of a run."""
    model = load_model(run / "checkpoints" / "model.safetensors")
    slices = load_slices(describe(data))["validation"]
    images = [to_8bit(annotated.image, model.grey_range) for annotated in slices]
    channels = model_channels(model, images, None, 1)
    labels = predict_slices(model, channels, windows_of(model, "whole"), CPU)
    pairs = zip(slices, labels, strict=True)
    counts = np.stack([confusion_counts(entry.labels, pixels, 4) for entry, pixels in pairs])
    return float(np.nanmean(mean_f1(counts)[1:]))


@pytest.mark.slow(seconds=4)
def test_the_kept_epoch_labels_whole_slices_best(commands: Commands) -> None:
    """A rate at which a few epochs go up and down; the loss would choose by the patches."""
    changes = ("training.select=slices", "training.learning_rate=2e-2", "training.epochs=4")
    result = commands.train(*changes)
    assert result.returncode == 0, result.stderr
    run = commands.run_directory()
    assert "select_slices" in run.name
    f1 = [float(row["slices_f1"]) for row in history(run)]
    assert len(set(f1)) > 1
    assert f1_of_slices(run, commands.data) == pytest.approx(max(f1), abs=1e-5)
    # A run that starts from it has the start's own score.
    start = f"init_from={run}"
    again = commands.train(
        "training.select=slices", start, "training.learning_rate=1e-12", "seed=1"
    )
    assert again.returncode == 0, again.stderr
    (second,) = commands.folder.glob("runs/tiny/*-s1-*")
    assert float(history(second)[0]["slices_f1"]) == pytest.approx(max(f1), abs=1e-5)


def test_what_is_least_in_the_best_epoch() -> None:
    assert selection_loss({"val_loss": 0.7}) == 0.7
    assert selection_loss({"val_loss": 0.7, "slices_f1": 0.9}) == pytest.approx(0.1)
    assert selection_loss({"val_loss": 0.7, "slices_f1": float("nan")}) == 1
