"""Losses: the weighted Dice of the paper, and what may be added to it or stand in its place.

Meyer et al., ISBI 2021, section 2.1, for the Dice loss; each other loss names its own source.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_SKELETON_STEPS = 5
"""Erosions of a soft skeleton: structures of up to 11 pixels shrink to a line."""

_MISSED = 0.7
"""Weight of missed pixels in the Tversky index; the rest is that of false ones."""

_FOCUS = 0.75
"""Exponent of the focal Tversky loss; below 1, classes that are labelled badly count for more."""


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
    predicted, truth = _annotated(probabilities, target, ignore)
    overlap = (predicted * truth).sum(_PIXELS)  # TP, (K,)
    total = predicted.sum(_PIXELS) + truth.sum(_PIXELS)  # 2 TP + FN + FP, (K,)
    dice = (2 * overlap + smooth) / (total + smooth)
    return 1 - (weights * dice).mean()


_PIXELS = (0, 2, 3)
"""Axes of (N, K, H, W) that a sum over the pixels of a batch runs over."""


def _annotated(probabilities: Tensor, target: Tensor, ignore: int) -> tuple[Tensor, Tensor]:
    """Give prediction and truth (N, K, H, W), 0 where nothing is annotated."""
    known = target != ignore
    mask = known.unsqueeze(1)  # (N, 1, H, W)
    # Ignored pixels become class 0 for one_hot, which takes class indices alone; the mask drops
    # them from both sides.
    one_hot = functional.one_hot(target * known, probabilities.shape[1])  # (N, H, W, K)
    return probabilities * mask, one_hot.permute(0, 3, 1, 2) * mask


def focal_tversky_loss(
    probabilities: Tensor, target: Tensor, weights: Tensor, ignore: int, smooth: float = 1e-5
) -> Tensor:
    """Compute the weighted mean over classes of (1 - Tversky index) ** .75.

    The index is (TP + s) / (TP + .7 FN + .3 FP + s): missed pixels cost more than false ones, and
    classes that are labelled badly more than others (Abraham and Khan, ISBI 2019,
    arXiv:1810.07842, whose values these are). Arguments are those of `dice_loss`.

    >>> certain = torch.eye(2)[None, :, None, :]
    >>> focal_tversky_loss(certain, torch.tensor([[[0, 1]]]), torch.ones(2), ignore=255).item()
    0.0
    """
    predicted, truth = _annotated(probabilities, target, ignore)
    overlap = (predicted * truth).sum(_PIXELS)
    missed = truth.sum(_PIXELS) - overlap
    false = predicted.sum(_PIXELS) - overlap
    index = (overlap + smooth) / (overlap + _MISSED * missed + (1 - _MISSED) * false + smooth)
    # At 0 the power has no finite gradient; rounding may lead below it.
    return (weights * (1 - index).clamp(min=1e-7) ** _FOCUS).mean()


def cl_dice_loss(probabilities: Tensor, target: Tensor, ignore: int, smooth: float = 1.0) -> Tensor:
    """Compute 1 - the mean over the foreground classes of soft clDice.

    clDice is the harmonic mean of two shares: that of the prediction's skeleton inside the truth,
    and that of the truth's skeleton inside the prediction. A gap in a thin membrane costs as much
    as one in a thick one (Shit et al., CVPR 2021, arXiv:2003.07311).

    Args:
        probabilities: (N, K, H, W), background first.
        target: (N, H, W) class indices, `ignore` where a pixel counts for nothing.
        ignore: class index of the pixels that are left out.
        smooth: added to each sum of pixels.
    """
    predicted, truth = (values[:, 1:] for values in _annotated(probabilities, target, ignore))
    thinned = soft_skeleton(predicted)
    inside = (thinned * truth).sum(_PIXELS)
    precision = (inside + smooth) / (thinned.sum(_PIXELS) + smooth)
    skeleton = soft_skeleton(truth.to(predicted.dtype))
    sensitivity = ((skeleton * predicted).sum(_PIXELS) + smooth) / (skeleton.sum(_PIXELS) + smooth)
    return 1 - (2 * precision * sensitivity / (precision + sensitivity)).mean()


def soft_skeleton(masks: Tensor) -> Tensor:
    """Thin soft masks (N, K, H, W) in [0, 1] to their middle lines (Shit et al., algorithm 1).

    Of a binary mask it is the morphological skeleton: what each erosion leaves that an opening
    takes away.
    """
    skeleton = _without_opening(masks)
    for _ in range(_SKELETON_STEPS):
        masks = _eroded(masks)
        rest = _without_opening(masks)
        skeleton = skeleton + functional.relu(rest - skeleton * rest)
    return skeleton


def _without_opening(masks: Tensor) -> Tensor:
    opened = functional.max_pool2d(_eroded(masks), 3, stride=1, padding=1)
    return functional.relu(masks - opened)


def _eroded(masks: Tensor) -> Tensor:
    """Take the least of a pixel and its four neighbours."""
    rows = -functional.max_pool2d(-masks, (3, 1), stride=1, padding=(1, 0))
    columns = -functional.max_pool2d(-masks, (1, 3), stride=1, padding=(0, 1))
    return torch.minimum(rows, columns)


OVERLAPS = {"dice": dice_loss, "focal_tversky": focal_tversky_loss}
"""`training.overlap` -> the loss of that name."""


@dataclass(frozen=True)
class LossTerms:
    """What a loss is made of.

    Attributes:
        overlap: a name of OVERLAPS; "dice" in the paper.
        cross_entropy: weight of the mean cross-entropy, 0 in the paper. Short recipes learn faster
            with it, as nnU-Net does (Isensee et al., Nature Methods 2021,
            doi:10.1038/s41592-020-01008-z).
        cl_dice: weight of `cl_dice_loss`.
    """

    overlap: str = "dice"
    cross_entropy: float = 0.0
    cl_dice: float = 0.0


class SegmentationLoss(nn.Module):
    """Adds up the terms of a loss, computed of logits; alone, `dice_loss` is the paper's."""

    weights: Tensor

    def __init__(self, weights: list[float], ignore: int, terms: LossTerms | None = None):
        super().__init__()
        # A buffer moves to the device with the module, and is no parameter of the optimizer.
        self.register_buffer("weights", torch.tensor(weights))
        self.ignore = ignore
        self.terms = terms or LossTerms()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Map logits (N, K, H, W) of any float type and classes (N, H, W) to a float32 scalar."""
        # The sums over a batch have millions of terms, too many for half precision.
        logits = logits.float()
        probabilities = logits.softmax(dim=1)
        loss = OVERLAPS[self.terms.overlap](probabilities, target, self.weights, self.ignore)
        if self.terms.cross_entropy > 0:
            total = functional.cross_entropy(
                logits, target, ignore_index=self.ignore, reduction="sum"
            )
            # torch's own mean is NaN where a batch has no annotated pixel.
            annotated = (target != self.ignore).sum().clamp(min=1)
            loss = loss + self.terms.cross_entropy * total / annotated
        if self.terms.cl_dice > 0:
            loss = loss + self.terms.cl_dice * cl_dice_loss(probabilities, target, self.ignore)
        return loss
