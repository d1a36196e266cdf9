"""Scores of objects from counts of matches; NaN where there is nothing to score."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fibseg.scores.instances.matching import IOU_THRESHOLDS, MatchCounts


@dataclass(frozen=True)
class MatchFigures:
    """Scores at one threshold of the intersection over union.

    Attributes:
        precision: share of predicted objects that are matched.
        recall: share of true objects that are matched.
        f1: harmonic mean of the two.
        quality: panoptic quality, F1 times the mean intersection over union of the matched ones
            (Kirillov et al., CVPR 2019, doi:10.1109/CVPR.2019.00963).
        accuracy: TP / (TP + FP + FN), the average precision of objects without confidences (as in
            StarDist, Schmidt et al., MICCAI 2018, doi:10.1007/978-3-030-00934-2_30).
    """

    precision: float
    recall: float
    f1: float
    quality: float
    accuracy: float


@dataclass(frozen=True)
class InstanceFigures:
    """Scores of the objects of one class.

    Attributes:
        truth: objects of the truth.
        predicted: predicted objects.
        at_50: scores at an intersection over union of .5; their accuracy is SA50.
        at_75: at .75.
        msa: mean accuracy over IOU_THRESHOLDS, mSA in torch-em.
        voi_split: variation of information in bits per pixel of true objects: what splits cost.
        voi_merge: what merges cost.
    """

    truth: int
    predicted: int
    at_50: MatchFigures
    at_75: MatchFigures
    msa: float
    voi_split: float
    voi_merge: float


def instance_figures(counts: MatchCounts) -> InstanceFigures:
    """Compute the scores of counted objects."""
    at = dict(
        zip(
            IOU_THRESHOLDS,
            [
                _figures(matched, iou, counts["truth"], counts["predicted"])
                for matched, iou in zip(counts["matched"], counts["iou"], strict=True)
            ],
            strict=True,
        )
    )
    return InstanceFigures(
        truth=counts["truth"],
        predicted=counts["predicted"],
        at_50=at[0.5],
        at_75=at[0.75],
        msa=float(np.mean([figures.accuracy for figures in at.values()])),
        voi_split=_share(counts["split_bits"], counts["pixels"]),
        voi_merge=_share(counts["merge_bits"], counts["pixels"]),
    )


def _figures(matched: int, iou: float, truth: int, predicted: int) -> MatchFigures:
    return MatchFigures(
        precision=_share(matched, predicted),
        recall=_share(matched, truth),
        f1=_share(2 * matched, truth + predicted),
        quality=_share(2 * iou, truth + predicted),
        accuracy=_share(matched, truth + predicted - matched),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
