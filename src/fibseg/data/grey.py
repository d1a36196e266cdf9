"""Grey values: which become 0 and 255, and whether two sets of slices have the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fibseg.arrays import Mask, Pixels, UInt8
from fibseg.data.description import IntensityDescription
from fibseg.errors import FibsegError

DRIFTED_SHARE = 0.05
"""Share of a slice's pixels outside the training's grey range above which it has drifted."""

FEWEST_LEVELS = 16
"""Of the 256 grey levels that tissue must take: with fewer, organelles are no longer seen."""

SUMMARY_PERCENTILES = (0.1, 1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0, 99.9)
"""Of the grey values that a summary keeps."""

_SAMPLED_PIXELS = 5_000
"""Pixels of a slice that stand for its grey values."""

_SMALLEST_PADDING = 0.01
"""Share of a slice that is flat and of one extreme value, from which on it is padding."""

_MOST_CONTRAST = 2.5
"""How many times the contrast of one set of slices may be that of another."""

_CLEAR_SKEW = 0.15
"""Skew of grey values, from -1 to 1, from which on its sign is no accident."""


@dataclass(frozen=True)
class GreyRange:
    """Grey values that become 0 and 255.

    Attributes:
        low: of the training slices, becomes 0.
        high: of the training slices, becomes 255.
        percentiles: where they are set, every slice has its own grey range, from these percentiles
            of its pixels, padding left out. This takes out drift of brightness and contrast. A
            slice of one grey value takes the grey range of the training.
    """

    low: float
    high: float
    percentiles: tuple[float, float] | None = None

    def limits(self, image: Pixels) -> tuple[float, float]:
        """Compute the grey values that become 0 and 255 in this slice (H, W)."""
        if self.percentiles is None:
            return self.low, self.high
        # Training and prediction leave out the same: a mask is known to the training alone.
        pixels = without_padding(image)
        low, high = (float(value) for value in np.percentile(pixels, self.percentiles))
        # A slice without contrast has no scale, and a division by zero would follow.
        return (low, high) if high > low else (self.low, self.high)

    def outside(self, image: Pixels) -> float:
        """Compute the share of the pixels that are darker or brighter than the grey range."""
        low, high = self.limits(image)
        return float(((image < low) | (image > high)).mean())


def grey_range(images: Sequence[Pixels], intensity: IntensityDescription) -> GreyRange:
    """Compute the grey range of a description from the percentiles of all training pixels.

    The arrays may have any shape: those of `AnnotatedSlice.grey_values` leave out masked pixels.

    Raises:
        FibsegError: the slices have one grey value only, or a mask hides all of them.
    """
    # All slices together, since a mean of percentiles would depend on how slices are cut.
    pixels = np.concatenate([image.ravel() for image in images])
    if not pixels.size:
        raise FibsegError("data.volumes: the masks hide every pixel of the training slices.")
    # Python's floats: checkpoints hold built-in types only, which excludes NumPy's scalars.
    low, high = (float(value) for value in np.percentile(pixels, [intensity.low, intensity.high]))
    if not high > low:
        raise FibsegError(f"data.intensity: the training slices have one grey value only ({low}).")
    # The range of the training is kept with `per: slice` too: a slice without contrast takes it.
    return GreyRange(low, high, slice_percentiles(intensity))


def slice_percentiles(intensity: IntensityDescription) -> tuple[float, float] | None:
    """Give the percentiles of a grey range where every slice has its own, else None."""
    return (intensity.low, intensity.high) if intensity.per == "slice" else None


def to_8bit(image: Pixels, grey_range: GreyRange) -> UInt8:
    """Map grey values (H, W) to uint8: the ends of the grey range become 0 and 255.

    Values outside the range are clipped.

    >>> to_8bit(np.array([[0, 100, 300]]), GreyRange(0.0, 200.0)).tolist()
    [[0, 128, 255]]
    """
    low, high = grey_range.limits(image)
    # float32 is exact enough for 8 bits and takes half the memory of numpy's float64.
    scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    # Clipped before the cast, which would wrap around: 256 would become 0.
    return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)


@dataclass(frozen=True)
class GreySummary:
    """Grey values of some slices in a few plain numbers, which fit into JSON and a checkpoint.

    Padding is left out: it would hide what tissue looks like. `GreySummary(**asdict(summary))`
    gives the same summary again.

    Attributes:
        quantiles: grey values at SUMMARY_PERCENTILES.
        smallest: grey value.
        largest: grey value.
        commonest: share of the most frequent grey value.
        padding: share of the pixels that were left out as padding.
        dtype: type of the pixels, as "uint16".
    """

    quantiles: list[float]
    smallest: float
    largest: float
    commonest: float
    padding: float
    dtype: str

    @property
    def spread(self) -> float:
        """Distance of the 5th and the 95th percentile, which a few odd pixels do not change."""
        return self._at(95.0) - self._at(5.0)

    @property
    def skew(self) -> float:
        """How much longer the bright tail is than the dark one, -1 to 1; 0 where there is none.

        Inverted grey values have the same skew with the other sign (Bowley's measure, with the 5th
        and the 95th percentile in place of the quartiles).
        """
        if not self.spread:
            return 0.0
        return (self._at(95.0) + self._at(5.0) - 2 * self._at(50.0)) / self.spread

    def _at(self, percentile: float) -> float:
        return self.quantiles[SUMMARY_PERCENTILES.index(percentile)]

    def range_text(self) -> str:
        """Write the range of nearly all grey values for a message, as "uint8, 30 to 231"."""
        return f"{self.dtype}, {self.quantiles[0]:.4g} to {self.quantiles[-1]:.4g}"

    def levels(self, low: float, high: float) -> float:
        """Compute how many of 256 levels nearly all pixels take where `low` to `high` is 0 to 255.

        Nearly all are those from the 1st to the 99th percentile.
        """
        ends = np.clip([self._at(1.0), self._at(99.0)], low, high)
        return float(ends[1] - ends[0]) * 255 / (high - low)

    def doubts(self, other: GreySummary, reference: str, subject: str) -> list[str]:
        """List as sentences how grey values of `other` differ from these.

        `reference` and `subject` name these slices and the other ones, as "the training" and "the
        image".
        """
        texts = self.doubts_of_scale(other, reference, subject)
        if self.looks_inverted(other):
            texts.append(
                f"{subject} ({other.range_text()}) and {reference} ({self.range_text()}) look "
                "inverted to each other: most pixels are bright in one and dark in the other."
            )
        return texts

    def doubts_of_scale(self, other: GreySummary, reference: str, subject: str) -> list[str]:
        """List those of the `doubts` that concern contrast and brightness: one at most."""
        both = f"{subject} ({other.range_text()}) and {reference} ({self.range_text()})"
        ratio = other.spread / self.spread if self.spread else 1.0
        if not 1 / _MOST_CONTRAST <= ratio <= _MOST_CONTRAST:
            return [f"{both} differ in contrast, {ratio:.2g} to 1."]
        if not self._at(5.0) <= other._at(50.0) <= self._at(95.0):
            return [f"{both} differ in brightness."]
        return []

    def looks_inverted(self, other: GreySummary) -> bool:
        """Whether both have a clear skew, and not of the same sign."""
        return min(abs(self.skew), abs(other.skew)) > _CLEAR_SKEW and self.skew * other.skew < 0


def summarise_grey(images: Iterable[Pixels]) -> GreySummary:
    """Summarise the grey values of slices (H, W), which are read once and one at a time.

    Raises:
        FibsegError: there is no slice, or nothing but padding.
    """
    samples = []
    pixels = 0
    for image in images:
        sample = grey_sample(image)
        pixels += sample.size
        samples.append(without_padding(sample))
    return summary_of_samples(samples, pixels)


def sample_slice(image: Pixels, in_mask: Mask | None) -> tuple[Pixels, Pixels]:
    """Sample the grey values (n,) of an image (H, W), and those of them that are no padding.

    `in_mask` (H, W) is False where a mask hides a pixel; None where there is no mask.
    """
    sample = grey_sample(image)
    if in_mask is None:
        return sample.ravel(), without_padding(sample)
    # What a mask leaves is tissue.
    values = sample[grey_sample(in_mask) != 0]
    return values, values


def without_padding(image: Pixels) -> Pixels:
    """Take the pixels (n,) of an image (H, W) that are not of its padding."""
    padding = padding_value(image)
    return image.ravel() if padding is None else image[image != padding]


def summary_of_samples(samples: Sequence[Pixels], pixels: int | None = None) -> GreySummary:
    """Summarise samples without their padding; `pixels` is their number with it, if it is known.

    Raises:
        FibsegError: there is no pixel.
    """
    grey = np.concatenate(samples) if samples else np.zeros(0)
    if not grey.size:
        raise FibsegError("the slices have no pixels but padding of one grey value.")
    _, counts = np.unique(grey, return_counts=True)
    # Python's floats, as in a grey range.
    return GreySummary(
        quantiles=[float(value) for value in np.percentile(grey, SUMMARY_PERCENTILES)],
        smallest=float(grey.min()),
        largest=float(grey.max()),
        commonest=float(counts.max() / grey.size),
        padding=float(1 - grey.size / (pixels or grey.size)),
        dtype=str(grey.dtype),
    )


def few_levels(grey_range: GreyRange, volumes: Mapping[str, GreySummary]) -> str | None:
    """Describe a volume to which the grey range of all volumes leaves too few grey levels.

    `volumes` are summaries by the volumes' names. None where there is no such volume, or where all
    volumes are alike.
    """
    if grey_range.percentiles is not None:
        return None
    levels = {
        name: summary.levels(grey_range.low, grey_range.high) for name, summary in volumes.items()
    }
    if not levels or max(levels.values()) < FEWEST_LEVELS:
        return None
    name = min(levels, key=lambda name: levels[name])
    if levels[name] >= FEWEST_LEVELS:
        return None
    return (
        f"data.intensity: the grey range {grey_range.low:g} to {grey_range.high:g} of the training "
        f"slices leaves {name} ({volumes[name].range_text()}) {levels[name]:.0f} of 256 grey "
        "levels; save all volumes with one range of grey values, or give data.intensity.per=slice."
    )


def grey_sample(image: Pixels) -> Pixels:
    """Take about _SAMPLED_PIXELS pixels (h, w) of an image (H, W), at equal distances."""
    pixels = image.view(np.uint8) if image.dtype == bool else image
    # The root, since rows and columns are both thinned out.
    step = max(1, int((pixels.size / _SAMPLED_PIXELS) ** 0.5))
    # A copy of the sampled pixels: a view would keep the whole slice in memory.
    return pixels[::step, ::step].copy()


def padding_value(image: Pixels) -> float | None:
    """Find the grey value that fills the surroundings of a shifted, turned or smaller image (H, W).

    It is the darkest or the brightest value, lies at the border, and is flat over an area, which
    noise never is. None where there is no such value, or no other.
    """
    low = image.min()
    high = image.max()
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    for value in (low, high):
        is_value = image == value
        # A pixel with its right and lower neighbours: single dark pixels are no area.
        flat = is_value[:-1, :-1] & is_value[1:, :-1] & is_value[:-1, 1:]
        if low < high and (border == value).any() and flat.sum() > _SMALLEST_PADDING * image.size:
            return float(value)
    return None
