"""The weighted Dice loss of Meyer et al., ISBI 2021, section 2.1, and that of maps of objects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fibseg.models.objects.maps import map_targets


def dice_loss(
    probabilities: Tensor, target: Tensor, weights: Tensor, ignore: int, smooth: float = 1e-5
) -> Tensor:
    """Compute 1 - mean over classes of weight * Dice.

    Dice = (2 TP + s) / (2 TP + FN + FP + s), with the counts taken of probabilities (Meyer et al.,
    ISBI 2021, section 2.1). Sums run over batch, rows and columns together, background included, as
    in the paper and its authors' code. With the paper's weights (.1, .7, 1, .9) the lowest value is
    .325. A class absent from the batch scores about 0.

    Args:
        probabilities: (N, K, H, W); the K values of a pixel sum to 1.
        target: (N, H, W) class indices, `ignore` where a pixel counts for nothing.
        weights: (K,).
        ignore: class index of the pixels that are left out.
        smooth: s.

    Returns:
        A scalar. Without any annotated pixel every Dice is 1, and the loss has no gradient.

    >>> certain = torch.eye(2)[None, :, None, :]  # (1, 2, 1, 2): class 0, then class 1
    >>> dice_loss(certain, torch.tensor([[[0, 1]]]), torch.ones(2), ignore=255).item()
    0.0
    """
    known = target != ignore
    mask = known.unsqueeze(1)  # (N, 1, H, W)
    # Ignored pixels become class 0 for one_hot, which takes class indices alone; the mask drops
    # them from both sides.
    one_hot = functional.one_hot(target * known, probabilities.shape[1])  # (N, H, W, K)
    truth = one_hot.permute(0, 3, 1, 2) * mask
    predicted = probabilities * mask
    axes = (0, 2, 3)
    overlap = (predicted * truth).sum(axes)  # TP, (K,)
    total = predicted.sum(axes) + truth.sum(axes)  # 2 TP + FN + FP, (K,)
    dice = (2 * overlap + smooth) / (total + smooth)
    return 1 - (weights * dice).mean()


class DiceLoss(nn.Module):
    """Computes `dice_loss` of logits, plus `cross_entropy` times the mean cross-entropy.

    The mean is over annotated pixels. The paper's loss is cross_entropy=0. Short recipes learn
    faster with both, as nnU-Net does (Isensee et al., Nature Methods 2021,
    doi:10.1038/s41592-020-01008-z).
    """

    weights: Tensor

    def __init__(self, weights: list[float], ignore: int, cross_entropy: float = 0.0):
        super().__init__()
        # A buffer moves to the device with the module, and is no parameter of the optimizer.
        self.register_buffer("weights", torch.tensor(weights))
        self.ignore = ignore
        self.cross_entropy = cross_entropy

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Map logits (N, K, H, W) of any float type and classes (N, H, W) to a float32 scalar."""
        # The sums over a batch have millions of terms, too many for half precision.
        logits = logits.float()
        loss = dice_loss(logits.softmax(dim=1), target, self.weights, self.ignore)
        if self.cross_entropy > 0:
            total = functional.cross_entropy(
                logits, target, ignore_index=self.ignore, reduction="sum"
            )
            # torch's own mean is NaN where a batch has no annotated pixel.
            annotated = (target != self.ignore).sum().clamp(min=1)
            loss = loss + self.cross_entropy * total / annotated
        return loss


def map_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Compute the loss of maps of objects: cross-entropy, plus 1 - Dice of each map's mean.

    Args:
        logits: (N, M, H, W) of any float type.
        targets: (N, M, H, W) in [0, 1].
        weights: (N, M, H, W), of the pixels in the cross-entropy; 0 where one counts for nothing.

    Returns:
        A float32 scalar, 0 where no pixel counts.
    """
    logits = logits.float()
    known = (weights > 0).float()
    entropy = functional.binary_cross_entropy_with_logits(
        logits, targets, weight=weights, reduction="sum"
    )
    axes = (0, 2, 3)
    predicted = logits.sigmoid() * known
    truth = targets * known
    overlap = 2 * (predicted * truth).sum(axes)
    # Squares, since targets are shares: a map equal to its target has a Dice of 1.
    total = (predicted.square() + truth.square()).sum(axes)
    dice = (overlap + 1e-5) / (total + 1e-5)
    return entropy / weights.sum().clamp(min=1) + (1 - dice).mean()


class ObjectLoss(nn.Module):
    """Computes a loss of the classes, plus `weight` times that of the maps of their objects."""

    def __init__(self, classes: DiceLoss, class_indices: Sequence[int], weight: float):
        """Keep what a loss needs.

        Args:
            classes: loss of the classes.
            class_indices: the M classes that have objects.
            weight: of the loss of the maps.
        """
        super().__init__()
        self.classes = classes
        self.class_indices = list(class_indices)
        self.weight = weight

    def forward(self, logits: Tensor, target: Tensor, objects: Tensor) -> Tensor:
        """Map logits (N, K + M, H, W), classes and objects (N, H, W) to a float32 scalar."""
        count = logits.shape[1] - len(self.class_indices)
        targets, weights = map_targets(objects, target, self.class_indices)
        loss: Tensor = self.classes(logits[:, :count], target)
        return loss + self.weight * map_loss(logits[:, count:], targets, weights)
