"""F1 over the number of annotated slices, and what twice as many would bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from fibseg.arrays import Floats

_EXPONENTS = np.geomspace(0.2, 2.0, 13)
"""Of the power law by which F1 nears its limit."""

_FEWEST_COUNTS = 3
"""Numbers of slices from which on a curve with a bend can be fitted."""


@dataclass(frozen=True)
class Extrapolation:
    """What more annotated slices would bring, by a power law fitted to all seeds.

    Attributes:
        count: largest number of slices that was tried.
        f1: mean F1 of the seeds with it.
        gain: expected of twice as many slices.
        low: lower end of the 95 % interval of the gain of a training.
        high: upper end.
    """

    count: int
    f1: float
    gain: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """Write the outlook as a clause."""
        return (
            f"{self.count} annotated slices reach {_points(self.f1)}; {2 * self.count} would bring "
            f"about {self.gain:+.3f} ({self.low:+.3f} to {self.high:+.3f} in a training)"
        )


def extrapolate(curve: Mapping[int, Sequence[float]]) -> Extrapolation | None:
    """Fit F1 = a - b n^-c to a curve, and extend it to twice the largest n, and no further.

    The interval is that of Student for a single training, from the scatter of the seeds about the
    fit: which slices were painted and which seed was drawn move F1 more than a doubling does.

    Args:
        curve: number of slices -> F1 of each seed.

    Returns:
        None for fewer than three numbers of slices, or for one seed alone.
    """
    points = [(count, f1) for count, scores in curve.items() for f1 in scores]
    numbers = np.array([count for count, _ in points], float)
    scores = np.array([f1 for _, f1 in points])
    freedom = len(points) - 3
    finite = np.isfinite(scores).all()
    if len(curve) < _FEWEST_COUNTS or len(points) < 2 * len(curve) or not finite:
        return None
    fits = [_fit(numbers, scores, exponent) for exponent in _EXPONENTS]
    errors = [((limit - loss - scores) ** 2).sum() for limit, _, loss in fits]
    best = int(np.argmin(errors))
    _, factor, _ = fits[best]
    last = max(curve)
    exponent = _EXPONENTS[best]
    gain = factor * (last**-exponent - (2 * last) ** -exponent)
    deviation = np.sqrt(errors[best] / freedom)
    reach = stdtrit(freedom, 0.975) * deviation
    return Extrapolation(
        count=last,
        f1=float(np.mean(curve[last])),
        gain=float(gain),
        low=float(gain - reach),
        high=float(gain + reach),
    )


def _fit(numbers: Floats, scores: Floats, exponent: float) -> tuple[float, float, Floats]:
    """Limit a, factor b and losses b n^-c (n,) of the best curve that rises, and not above 1."""
    powers = numbers**-exponent
    covariance = ((powers - powers.mean()) * (scores - scores.mean())).sum()
    factor = max(0.0, -covariance / ((powers - powers.mean()) ** 2).sum())
    limit = scores.mean() + factor * powers.mean()
    if limit > 1:
        limit = 1.0
        factor = ((1 - scores) * powers).sum() / (powers**2).sum()
    return float(limit), float(factor), factor * powers


def _points(f1: float) -> str:
    """An F1 without its leading zero, as sentences have it."""
    return f"{f1:.3f}".removeprefix("0")
