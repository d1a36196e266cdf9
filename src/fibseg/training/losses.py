"""The weighted Dice loss of Meyer et al., ISBI 2021, section 2.1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def dice_loss(
    probabilities: Tensor, target: Tensor, weights: Tensor, ignore: int, smooth: float = 1e-5
) -> Tensor:
    """1 - mean over classes of weight * Dice, Dice = (2 TP + s) / (2 TP + FN + FP + s) on probabilities.

    Sums run over batch, rows and columns together, background included, as in the paper and its authors' code. With
    the paper's weights (.1, .7, 1, .9) the lowest value is .325. A class absent from the batch scores about 0.

    Args:
        probabilities: (N, K, H, W), each pixel sums to 1.
        target: (N, H, W) class indices; `ignore` where a pixel counts for nothing.
        weights: (K,).
        ignore: the index that is left out.
        smooth: s.

    Returns:
        A scalar. With no annotated pixel every Dice is 1: the loss has no gradient.
    """
    known = target != ignore
    truth = functional.one_hot(target * known, probabilities.shape[1]).permute(
        0, 3, 1, 2
    )  # (N, K, H, W)
    mask = known.unsqueeze(1)
    truth, predicted = truth * mask, probabilities * mask
    axes = (0, 2, 3)
    overlap = (predicted * truth).sum(axes)  # TP
    total = predicted.sum(axes) + truth.sum(axes)  # 2 TP + FN + FP
    dice = (2 * overlap + smooth) / (total + smooth)
    return 1 - (weights * dice).mean()


class DiceLoss(nn.Module):
    """`dice_loss` on logits, plus `cross_entropy` times the mean cross-entropy over annotated pixels.

    The paper's loss is cross_entropy=0. Short recipes learn faster with both, as nnU-Net does
    (Isensee et al., Nature Methods 2021, doi:10.1038/s41592-020-01008-z).
    """

    weights: Tensor

    def __init__(self, weights: list[float], ignore: int, cross_entropy: float = 0.0):
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights))
        self.ignore, self.cross_entropy = ignore, cross_entropy

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """(N, K, H, W) logits of any float type and (N, H, W) class indices -> a scalar in float32."""
        logits = logits.float()
        loss = dice_loss(logits.softmax(dim=1), target, self.weights, self.ignore)
        if self.cross_entropy > 0:
            pixels = functional.cross_entropy(
                logits, target, ignore_index=self.ignore, reduction="sum"
            )
            loss = loss + self.cross_entropy * pixels / (target != self.ignore).sum().clamp(min=1)
        return loss
