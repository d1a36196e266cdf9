"""What a head learns: how deep in its object each pixel lies, as a map of 0 to 1 for each class.

"contour" is the interior of objects without a rim, as in the border-core of nnU-Net and contour
maps of DCAN (Chen et al., CVPR 2016, doi:10.1109/CVPR.2016.273). "distance" is the signed distance
to the border of the object, as in deep watershed transforms (Bai and Urtasun, CVPR 2017,
doi:10.1109/CVPR.2017.305).

Maps are made from the numbers of objects in a patch as it is seen, after it was turned and bent.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fibseg.arrays import IGNORE
from fibseg.data.labels.instances import UNKNOWN

RIM = 2
"""Pixels of an object's rim, which are no part of its interior."""

CONTACT_WEIGHT = 10.0
"""Weight of pixels where two objects meet, as in the UNet (Ronneberger et al., MICCAI 2015): few as
they are, they would be learned last."""

REACH = 8
"""Pixels from the border at which a distance counts as far, inside and outside."""


def map_targets(
    objects: Tensor, labels: Tensor, class_indices: Sequence[int], head: str
) -> tuple[Tensor, Tensor]:
    """Compute what the maps of patches shall be, and how much each pixel counts.

    Args:
        objects: (N, H, W) numbers of objects; two that touch have two numbers.
        labels: (N, H, W) class indices, IGNORE where nobody has looked.
        class_indices: the M classes that have objects.
        head: "contour" or "distance".

    Returns:
        Targets (N, M, H, W) float32 in [0, 1], and weights (N, M, H, W): CONTACT_WEIGHT where two
        objects meet, 1 elsewhere, and 0 where an ignored pixel, an object without an id or the rim
        of the patch is so near that the border of the object may lie there.
    """
    make = _interior if head == "contour" else _signed_distance
    reach = RIM if head == "contour" else REACH
    targets = []
    weights = []
    for index in class_indices:
        of_class = torch.where(labels == index, objects, 0)
        doubtful = (labels == IGNORE) | (of_class == UNKNOWN)
        numbers = of_class.clamp(min=0)[:, None].float()  # below 2^24, which floats hold exactly
        targets.append(make(numbers))
        # Beyond the patch everything is in doubt.
        near = functional.pad(doubtful[:, None].float(), (reach,) * 4, value=1.0)
        known = functional.max_pool2d(near, 2 * reach + 1, stride=1) == 0
        weights.append(known * torch.where(_meet(numbers), CONTACT_WEIGHT, 1.0))
    return torch.cat(targets, dim=1), torch.cat(weights, dim=1)


def _meet(numbers: Tensor) -> Tensor:
    """Where pixels of two objects are no farther than RIM away, in (N, 1, H, W)."""
    largest = functional.max_pool2d(numbers, 2 * RIM + 1, stride=1, padding=RIM)
    # Background must not be the smallest one.
    others = torch.where(numbers > 0, -numbers, -float("inf"))
    smallest = -functional.max_pool2d(others, 2 * RIM + 1, stride=1, padding=RIM)
    return (smallest < largest) & (largest > 0)


def _alike(numbers: Tensor, reach: int) -> Tensor:
    """Where all pixels up to `reach` rows and columns away have the number of (N, 1, H, W)."""
    largest = functional.max_pool2d(numbers, 2 * reach + 1, stride=1, padding=reach)
    smallest = -functional.max_pool2d(-numbers, 2 * reach + 1, stride=1, padding=reach)
    return largest == smallest


def _interior(numbers: Tensor) -> Tensor:
    """1 inside of objects (N, 1, H, W), 0 on their rims and outside."""
    return ((numbers > 0) & _alike(numbers, RIM)).float()


def _signed_distance(numbers: Tensor) -> Tensor:
    """(1 + distance / REACH) / 2 inside of objects (N, 1, H, W) and (1 - ...) / 2 outside.

    Distances are the chessboard's, to the nearest pixel of another number, REACH at most.
    """
    steps = torch.zeros_like(numbers)
    for reach in range(1, REACH + 1):
        steps += _alike(numbers, reach)
    # A pixel at the border is one step from it, so that the two sides differ.
    distance = (1 + steps) / (1 + REACH)
    return (1 + torch.where(numbers > 0, distance, -distance)) / 2
