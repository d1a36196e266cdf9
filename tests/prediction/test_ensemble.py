"""Several models as one, and a model under flips and rotations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.filters.channels import Channels
from fibseg.models.trained import TrainedModel
from fibseg.prediction.ensemble import Ensemble, common_precision, common_windows, sources_of
from fibseg.prediction.slices import probabilities
from fibseg.prediction.stack import label_stack
from fibseg.prediction.windows import windows_of
from tests.support.labelling import labeller, random_image, stack_of
from tests.support.models import trained


def lead(shares: np.ndarray) -> np.ndarray:
    """How far the largest of (K, H, W) is above the second."""
    ordered = np.sort(shares, axis=0)
    return ordered[-1] - ordered[-2]


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    """Of other grey ranges and filters too, each with its own channels."""
    torch.manual_seed(1)
    plain = trained([], 1)
    filtered = replace(trained([30], 2), grey_range=GreyRange(0.0, 255.0))
    for parameter in plain.network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    stack = stack_of(random_image())
    both = labeller(plain, filtered, layers=["a", "disagreement"])
    labelled = next(label_stack(both, stack, [3]))
    shares = []
    for model in (plain, filtered):
        single = labeller(model, layers=["background", "a", "b"])
        layers = next(label_stack(single, stack, [3])).layers
        shares.append(np.stack(layers).astype(float) / 255)
    mean = (shares[0] + shares[1]) / 2
    # Not within the rounding of a layer.
    clear = lead(mean) > 0.02
    assert labelled.labels is not None and clear.mean() > 0.5
    np.testing.assert_array_equal(labelled.labels[clear], mean.argmax(0)[clear])
    np.testing.assert_allclose(labelled.layers[0] / 255, mean[1], atol=0.006)
    votes = np.stack([member.argmax(0) != labelled.labels for member in shares]).mean(0)
    sure = np.all([lead(member) > 0.02 for member in shares], axis=0) & clear
    np.testing.assert_allclose(labelled.layers[1][sure] / 255, votes[sure], atol=0.003)


def with_windows(kind: str, size: int) -> TrainedModel:
    return replace(trained([], 1), windows={"kind": kind, "size": size})


def auto_windows(*models: TrainedModel, slice_pixels: int = 100) -> Any:
    return common_windows(models, "auto", 0, slice_pixels)


def test_windows_of_several_are_those_of_the_most_careful() -> None:
    """Tiles as small as one model needs, with the larger halo; what cannot be averaged is named."""
    whole = with_windows("whole", 0)
    small = with_windows("tiles", 512)
    large = with_windows("tiles", 1024)
    assert auto_windows(whole, large, small) == windows_of(whole, "tiles", 512)
    assert str(auto_windows(whole, trained([], 1))) == "paper 32"
    # A slice that is too large to be seen whole.
    assert str(auto_windows(whole, slice_pixels=5 * 10**6)) == "tiles 1024"
    tiles = common_windows([whole, replace(whole, architecture="eunet")], "tiles", 512, 100)
    assert (tiles.halo, tiles.grid) == (128, 32)
    with pytest.raises(FibsegError, match="different patch sizes"):
        auto_windows(whole, replace(whole, patch_size=64))
    with pytest.raises(FibsegError, match="different voxel sizes"):
        auto_windows(whole, replace(whole, voxel_sizes=[[1, 2, 3]]))


@pytest.mark.parametrize(("gains", "expected"), [(True, "bf16"), (False, "32")])
def test_half_precision_is_kept_where_the_device_gains_from_it(
    monkeypatch: pytest.MonkeyPatch, gains: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": gains})
    cpu = torch.device("cpu")
    model = trained([], 1)
    half = replace(model, precision="bf16")
    assert common_precision([half, half], cpu) == expected
    assert common_precision([model, model], cpu) == "32"
    assert common_precision([model, half], cpu) == "32"
    # Depthwise convolutions are slow in half precision on any processor.
    assert common_precision([half, replace(half, architecture="eunet")], cpu) == "32"
    forest = replace(model, architecture="forest")
    assert common_precision([forest, half], cpu) == expected


def test_members_must_fit() -> None:
    plain = trained([], 1)
    other_classes = replace(plain, class_names=["background", "x", "b"])
    with pytest.raises(FibsegError, match="other classes: background, x, b and background, a, b"):
        sources_of([plain, other_classes])
    by_patch = replace(trained([9], 2), channels=Channels((9,), "patch"))
    with pytest.raises(FibsegError, match=r"filter\.scope=patch cannot be averaged"):
        sources_of([plain, by_patch])
    filtered = trained([9], 2)
    models = [plain, replace(filtered, grey_range=GreyRange(0, 1)), filtered, trained([], 1)]
    assert list(sources_of(models).values()) == [[0], [1, 2], [3, 4]]


def test_eight_turns_of_a_network_commute_with_turning_the_image() -> None:
    torch.manual_seed(0)
    network = trained([], 1).network.eval()
    ensemble = Ensemble([(network, [0])], turned=True, disagreement=False)
    images = torch.rand(1, 1, 48, 64)
    with torch.no_grad():
        mean = ensemble(images)
        plain = probabilities(network)(images)
        for quarter, flip in ((1, False), (2, True), (3, True), (0, True)):
            turned = images.rot90(quarter, (-2, -1))
            turned = turned.flip(-1) if flip else turned
            expected = mean.rot90(quarter, (-2, -1))
            expected = expected.flip(-1) if flip else expected
            torch.testing.assert_close(ensemble(turned), expected, atol=1e-5, rtol=1e-4)
    assert (mean - plain).abs().max() > 1e-3
    torch.testing.assert_close(mean.sum(1), torch.ones(1, 48, 64))
