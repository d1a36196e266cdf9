"""What a head learns: the interior of each object without a rim, as a map for each class.

Where two objects touch, their rims part the two interiors, as in the contour maps of DCAN (Chen et
al., CVPR 2016, doi:10.1109/CVPR.2016.273) and the border-core labels of nnU-Net (Isensee et al.,
Nature Methods 2021, doi:10.1038/s41592-020-01008-z).

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


def map_targets(
    objects: Tensor, labels: Tensor, class_indices: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Compute what the maps of patches shall be, and how much each pixel counts.

    Args:
        objects: (N, H, W) numbers of objects; two that touch have two numbers.
        labels: (N, H, W) class indices, IGNORE where nobody has looked.
        class_indices: the M classes that have objects.

    Returns:
        Targets (N, M, H, W) float32, 1 in the interior and else 0, and weights (N, M, H, W):
        CONTACT_WEIGHT where two objects meet, 1 elsewhere, and 0 where an ignored pixel, an object
        without an id or the rim of the patch is so near that the object's border may lie there.
    """
    targets = []
    weights = []
    for index in class_indices:
        of_class = torch.where(labels == index, objects, 0)
        doubtful = (labels == IGNORE) | (of_class == UNKNOWN)
        numbers = of_class.clamp(min=0)[:, None].float()  # below 2^24, which floats hold exactly
        targets.append(_interior(numbers))
        # Beyond the patch everything is in doubt.
        near = functional.pad(doubtful[:, None].float(), (RIM,) * 4, value=1.0)
        known = functional.max_pool2d(near, 2 * RIM + 1, stride=1) == 0
        weights.append(known * torch.where(_meet(numbers), CONTACT_WEIGHT, 1.0))
    return torch.cat(targets, dim=1), torch.cat(weights, dim=1)


def _meet(numbers: Tensor) -> Tensor:
    """Where pixels of two objects are no farther than RIM away, in (N, 1, H, W)."""
    largest = functional.max_pool2d(numbers, 2 * RIM + 1, stride=1, padding=RIM)
    # Background must not be the smallest one.
    others = torch.where(numbers > 0, -numbers, -float("inf"))
    smallest = -functional.max_pool2d(others, 2 * RIM + 1, stride=1, padding=RIM)
    return (smallest < largest) & (largest > 0)


def _interior(numbers: Tensor) -> Tensor:
    """1 where all pixels up to RIM away have the number of an object's pixel, in (N, 1, H, W)."""
    largest = functional.max_pool2d(numbers, 2 * RIM + 1, stride=1, padding=RIM)
    smallest = -functional.max_pool2d(-numbers, 2 * RIM + 1, stride=1, padding=RIM)
    return ((numbers > 0) & (largest == smallest)).float()
