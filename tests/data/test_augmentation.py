"""Changed patches: each change against a reference, labels that follow, and numbers by epoch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.ndimage import gaussian_filter

from fibseg.arrays import IGNORE
from fibseg.config.compose import CONF
from fibseg.data.augmentation import augmentation_generators, augmented
from fibseg.data.patches import Batch
from fibseg.data.sampling import Augmentation
from fibseg.runs.identity import changed_keys, scientific
from tests.support.data_module import data_module

COUNT = 24


def settings(**changes: Any) -> Augmentation:
    """Of the paper, but for these changes, which every patch gets."""
    values = yaml.safe_load((CONF / "augmentation" / "paper.yaml").read_text())
    return Augmentation(**(values | {"share": 1.0} | changes))


def batch(channels: int = 2, side: int = 48) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(COUNT, channels, side, side, generator=generator) * 0.4 + 0.3
    labels = torch.randint(0, 4, (COUNT, side, side), generator=generator)
    labels[:, :4] = IGNORE
    objects = (17 * labels).masked_fill(labels == IGNORE, 0).int()
    return Batch(images, labels, torch.zeros(COUNT), objects)


def changed(entry: Batch, **changes: Any) -> Batch:
    copy = Batch(*(value.clone() for value in entry))
    result = augmented(
        copy, settings(**changes), augmentation_generators(torch.device("cpu"), 3, 0)
    )
    # What is given stays as it is.
    assert all(torch.equal(value, kept) for value, kept in zip(copy, entry, strict=True))
    return result


def test_nothing_is_changed_where_nothing_is_asked_for() -> None:
    entry = batch()
    for plain in ({}, {"share": 0.0, "gain": 0.5}):
        assert settings(**plain).is_plain
        assert torch.equal(changed(entry, **plain).images, entry.images)
    assert not settings(noise=0.1).is_plain


@pytest.mark.parametrize(
    "changes",
    [
        {"gain": 0.3},
        {"offset": 0.2},
        {"gamma": 0.5},
        {"curtains": 0.05},
        {"charging": 0.1},
        {"noise": 0.1},
        {"blur": 1.5},
        {"coarse": 3.0},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_grey_values_change_and_labels_do_not(changes: dict[str, float]) -> None:
    entry = batch()
    result = changed(entry, **changes)
    assert torch.equal(result.labels, entry.labels)
    assert result.images.shape == entry.images.shape
    assert result.images.min() >= 0 and result.images.max() <= 1
    differing = (result.images != entry.images).flatten(1).any(dim=1)
    assert differing.all()
    # About half of the patches are changed where the chance is one in two.
    half = changed(entry, share=0.5, **changes).images != entry.images
    assert 5 <= int(half.flatten(1).any(dim=1).sum()) <= 19


def test_contrast_brightness_and_gamma_are_functions_of_the_grey_value() -> None:
    entry = batch(channels=1)
    for changes in ({"gain": 0.3}, {"offset": 0.2}, {"gamma": 0.5}):
        result = changed(entry, **changes).images
        for before, after in zip(entry.images, result, strict=True):
            x = before.flatten().numpy()
            y = after.flatten().numpy()
            if "gamma" in changes:
                x = np.log(x)
                y = np.log(y)
            slope, start = np.polyfit(x, y, 1)
            np.testing.assert_allclose(y, slope * x + start, atol=1e-4)
            if "gain" in changes:
                assert 0.7 <= slope <= 1.3
                assert y.mean() == pytest.approx(x.mean(), abs=1e-4)
            elif "offset" in changes:
                assert slope == pytest.approx(1, abs=1e-4)
                assert abs(start) <= 0.2
            else:
                assert 1 / 1.5 <= slope <= 1.5
                assert start == pytest.approx(0, abs=1e-4)


def test_blur_is_that_of_scipy() -> None:
    """By the deviation that fits best; borders are repeated."""
    entry = batch()
    result = changed(entry, blur=1.5).images
    for before, after in zip(entry.images[:6].numpy(), result[:6].numpy(), strict=True):

        def error(deviation: float, before: Any = before, after: Any = after) -> float:
            blurred = gaussian_filter(
                before, (0, deviation, deviation), mode="nearest", radius=(0, 5, 5)
            )
            return float(np.abs(blurred - after).max())

        errors = [error(deviation) for deviation in np.linspace(0.45, 1.5, 211)]
        assert min(errors) < 2e-3


def test_coarse_pixels_and_noise() -> None:
    entry = batch()
    coarse = changed(entry, coarse=3.0).images
    # Neighbours differ less, the mean stays.
    assert (coarse.diff(dim=-1).abs().mean() < 0.7 * entry.images.diff(dim=-1).abs().mean()).all()
    torch.testing.assert_close(coarse.mean((2, 3)), entry.images.mean((2, 3)), atol=0.01, rtol=0)
    noise = changed(entry, noise=0.1).images - entry.images
    deviations = noise.std(dim=(2, 3))
    assert deviations.max() <= 0.11
    # The noise of a patch is the same in all its channels.
    assert torch.allclose(noise[:, 0], noise[:, 1], atol=1e-6)
    stripes = changed(entry, curtains=0.05).images - entry.images
    assert stripes.std(dim=2).max() < 1e-6 < stripes.std(dim=3).min()
    charge = (changed(entry, charging=0.2).images - entry.images).abs().mean((0, 1, 2))
    assert charge[-1] < charge[0] * 0.96**40


def test_labels_move_with_the_image() -> None:
    """Grey values that say the class, so that both can be compared after they moved."""
    entry = batch(channels=1, side=64)
    blocks = torch.randint(0, 4, (COUNT, 8, 8), generator=torch.Generator().manual_seed(2))
    labels = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    entry = Batch(labels[:, None] / 4 + 0.1, labels, entry.drawn_class, labels.int())
    for changes in ({"scale": 0.4}, {"elastic": 2.0}, {"scale": 0.3, "elastic": 2.0}):
        result = changed(entry, **changes)
        known = result.labels != IGNORE
        expected = ((result.images[:, 0] - 0.1) * 4).round().long()
        wrong = (expected != result.labels) & known
        # Between two blocks grey values are interpolated, and labels are not.
        assert wrong.float().mean() < 0.12
        assert (result.labels != labels).float().mean() > 0.2
        assert set(result.labels.unique().tolist()) <= {0, 1, 2, 3, IGNORE}
    # Smaller structures show what lies beyond the border, which nobody annotated.
    result = changed(entry, scale=0.4)
    unknown = (result.labels == IGNORE).flatten(1).float().mean(dim=1)
    assert 0 < int((unknown > 0).sum()) < COUNT
    assert unknown.max() < 1 - 1 / 1.4**2 + 0.05


def test_numbers_are_those_of_seed_and_epoch() -> None:
    """They leave the global generator alone, and depend on no outcome before them."""
    device = torch.device("cpu")
    strong = yaml.safe_load((CONF / "augmentation" / "strong.yaml").read_text())
    torch.manual_seed(0)
    state = torch.get_rng_state()
    results = {
        (seed, epoch): augmented(
            batch(), Augmentation(**strong), augmentation_generators(device, seed, epoch)
        ).images
        for seed, epoch in ((3, 0), (3, 1), (0, 3))
    }
    assert torch.equal(torch.get_rng_state(), state)
    again = augmented(batch(), Augmentation(**strong), augmentation_generators(device, 3, 1)).images
    assert torch.equal(again, results[3, 1])
    assert not torch.equal(results[3, 0], results[3, 1])
    assert not torch.equal(results[0, 3], results[3, 0])


def test_training_batches_are_changed_and_others_are_not(phantom_folder: Path) -> None:
    """The same in each pass of an epoch, so that a resumed run repeats it."""
    strong = Augmentation(
        **yaml.safe_load((CONF / "augmentation" / "strong.yaml").read_text()) | {"share": 1.0}
    )
    data = data_module(phantom_folder, augmentation=strong)
    trainer: Any = SimpleNamespace(training=True, current_epoch=4)
    data.trainer = trainer

    def epoch() -> list[torch.Tensor]:
        return [data.on_after_batch_transfer(entry, 0).images for entry in data.train_dataloader()]

    first = epoch()
    assert len(first) == 5
    assert all(torch.equal(a, b) for a, b in zip(first, epoch(), strict=True))
    trainer.current_epoch = 5
    assert not torch.equal(first[0], epoch()[0])
    trainer.training = False
    entry = next(iter(data.val_dataloader()))
    assert data.on_after_batch_transfer(entry, 0) is entry


def test_the_papers_values_are_no_part_of_a_hash() -> None:
    """Runs that were trained before there was a choice keep their names."""
    paper = yaml.safe_load((CONF / "augmentation" / "paper.yaml").read_text())
    config: dict[str, Any] = {"data": {"volumes": []}, "model": {}, "training": {}}
    assert "augmentation" not in scientific(config | {"augmentation": paper})
    for nothing in ({"noise": 0.1}, {"share": 0.5}):
        assert "augmentation" not in scientific(config | {"augmentation": paper | nothing})
    noisy = {"augmentation": paper | {"share": 0.5, "noise": 0.1}}
    assert scientific(config | noisy)["augmentation"] == noisy["augmentation"]
    assert changed_keys(config | noisy, config) == {
        "augmentation.noise": 0.1,
        "augmentation.share": 0.5,
    }


def test_objects_move_with_their_labels() -> None:
    """The numbers of objects are 17 times the classes, before and after."""
    moved = changed(batch(), scale=0.4, elastic=3.0)
    assert not torch.equal(moved.labels, batch().labels)
    assert moved.objects is not None and moved.objects.dtype == torch.int32
    expected = (17 * moved.labels).masked_fill(moved.labels == IGNORE, 0)
    assert torch.equal(moved.objects.long(), expected)
    # A batch without objects draws the same numbers.
    without = batch()._replace(objects=None)
    settled = settings(scale=0.4, elastic=3.0)
    other = augmented(without, settled, augmentation_generators(torch.device("cpu"), 3, 0))
    assert torch.equal(other.labels, moved.labels) and other.objects is None
