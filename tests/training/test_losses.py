from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from fibseg.arrays import IGNORE
from fibseg.models.objects.maps import map_targets
from fibseg.training.losses import DiceLoss, ObjectLoss, dice_loss, map_loss

PAPER = [0.1, 0.7, 1.0, 0.9]


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 4, 12, 10, generator=generator)
    return logits, torch.randint(0, 4, (3, 12, 10), generator=generator)


def test_agrees_with_monai() -> None:
    # It loads for two seconds: not every process that imports the tests does.
    from monai.losses import DiceLoss as MonaiDice

    logits, target = example()
    loss = dice_loss(logits.softmax(1), target, torch.ones(4), IGNORE)
    monai = MonaiDice(to_onehot_y=True, softmax=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)
    assert loss.item() == pytest.approx(monai(logits, target[:, None]).item(), abs=1e-6)


def test_agrees_with_the_formula_in_numpy() -> None:
    logits, target = example()
    probabilities = logits.softmax(1).numpy()
    dice = []
    for c in range(4):
        predicted = probabilities[:, c].astype(float)
        truth = (target.numpy() == c).astype(float)
        tp = (predicted * truth).sum()
        fp = (predicted * (1 - truth)).sum()
        fn = ((1 - predicted) * truth).sum()
        dice.append((2 * tp + 1e-5) / (2 * tp + fp + fn + 1e-5))
    expected = 1 - np.dot(PAPER, dice) / 4
    assert DiceLoss(PAPER, IGNORE)(logits, target).item() == pytest.approx(expected, abs=1e-6)


def test_a_perfect_prediction_has_the_papers_lowest_value() -> None:
    _, target = example()
    logits = 50.0 * torch.nn.functional.one_hot(target, 4).permute(0, 3, 1, 2)
    assert DiceLoss(PAPER, IGNORE)(logits, target).item() == pytest.approx(0.325, abs=1e-5)


def test_ignored_pixels_count_for_nothing() -> None:
    logits, target = example()
    target[:, :, 5:] = IGNORE
    loss = DiceLoss(PAPER, IGNORE, cross_entropy=1.0)
    whole = loss(logits, target)
    assert whole.item() == pytest.approx(loss(logits[..., :5], target[..., :5]).item(), abs=1e-6)
    logits = logits.requires_grad_()
    loss(logits, target).backward()
    assert not logits.grad[..., 5:].any()
    assert logits.grad[..., :5].abs().min() > 0


def test_empty_cases() -> None:
    logits, target = example()
    target = torch.where(target == 3, 0, target)
    absent = 1 - dice_loss(logits.softmax(1), target, torch.tensor([0.0, 0.0, 0.0, 4.0]), IGNORE)
    # A class that the batch lacks scores about 0.
    assert absent.item() < 1e-3
    nothing = torch.full_like(target, IGNORE)
    value = DiceLoss(PAPER, IGNORE, cross_entropy=1.0)(logits.requires_grad_(), nothing)
    value.backward()
    assert value.item() == pytest.approx(0.325)
    assert not logits.grad.any()


def test_cross_entropy_and_half_precision() -> None:
    logits, target = example()
    both = DiceLoss(PAPER, IGNORE, cross_entropy=0.5)(logits, target)
    expected = DiceLoss(PAPER, IGNORE)(logits, target) + 0.5 * torch.nn.functional.cross_entropy(
        logits, target
    )
    assert both.item() == pytest.approx(expected.item(), abs=1e-6)
    half = DiceLoss(PAPER, IGNORE, cross_entropy=0.5)(logits.bfloat16(), target)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(both.item(), abs=1e-2)


def map_example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(2, 3, 20, 20, generator=generator)
    targets = torch.rand(2, 3, 20, 20, generator=generator)
    return logits, targets, torch.randint(0, 3, (2, 3, 20, 20), generator=generator).float()


def test_the_loss_of_maps_is_that_of_scikit_learn_and_numpy() -> None:
    logits, targets, weights = map_example()
    hard = (targets > 0.5).float()
    value = map_loss(logits, hard, weights).item()
    chances = logits.double().sigmoid().numpy()
    entropy = log_loss(hard.numpy().ravel(), chances.ravel(), sample_weight=weights.numpy().ravel())
    counts = weights.numpy() > 0
    dice = []
    for m in range(3):
        p = chances[:, m][counts[:, m]]
        t = hard.numpy()[:, m][counts[:, m]]
        dice.append((2 * (p * t).sum() + 1e-5) / ((p * p).sum() + (t * t).sum() + 1e-5))
    assert value == pytest.approx(entropy + 1 - np.mean(dice), abs=1e-5)


def test_maps_count_for_nothing_where_nobody_knows_them() -> None:
    logits, targets, weights = map_example()
    weights[..., 7:] = 0
    logits.requires_grad_()
    map_loss(logits, targets, weights).backward()
    assert not logits.grad[..., 7:].any() and logits.grad.any()
    nothing = map_loss(logits, targets, torch.zeros_like(weights))
    nothing.backward()
    assert nothing.item() == pytest.approx(0, abs=1e-6)


def test_a_loss_with_objects_is_that_of_classes_and_maps() -> None:
    logits, target = example()
    objects = torch.where(target == 2, 5, 0).int()
    maps = torch.randn(3, 1, 12, 10, generator=torch.Generator().manual_seed(1))
    classes = DiceLoss(PAPER, IGNORE, cross_entropy=1.0)
    both = ObjectLoss(classes, [2], weight=0.5)(torch.cat([logits, maps], 1), target, objects)
    part = map_loss(maps, *map_targets(objects, target, [2]))
    assert both.item() == pytest.approx((classes(logits, target) + 0.5 * part).item())
