"""Doubts about grey values: drift, padding, inverted contrast, volumes and splits that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import numpy as np

from fibseg.data.description import SPLITS, DataDescription, IntensityDescription
from fibseg.data.grey import (
    DRIFTED_SHARE,
    GreyRange,
    GreySummary,
    few_levels,
    summary_of_samples,
)
from fibseg.data.inspection.facts import SliceFacts

_LEAST_RANGE = 0.75
"""Share of the grey range that padding must leave to the tissue."""

_CLEAR_CONTRAST = 0.3
"""Standard deviations by which a class is clearly darker or brighter than the rest."""


def sampled_grey_range(
    slices: Sequence[SliceFacts], intensity: IntensityDescription
) -> GreyRange | None:
    """Compute the grey range of the training slices from a sample of their pixels.

    None where there is no training slice, or one grey value only.
    """
    grey = [facts.grey for facts in slices if facts.split == "train"]
    if not sum(map(len, grey)):
        return None
    # All training slices together, as `grey_range` takes them.
    low, high = np.percentile(np.concatenate(grey), (intensity.low, intensity.high))
    return GreyRange(float(low), float(high)) if high > low else None


def grey_doubts(
    slices: Sequence[SliceFacts], description: DataDescription, names: Sequence[str]
) -> Iterator[str]:
    """List doubts about the grey values of used slices; `names` are those of the classes."""
    used = [facts for facts in slices if facts.split]
    grey_range = sampled_grey_range(used, description.intensity)
    volumes = len(description.volumes)
    # With a grey range for every slice, other grey values do no harm.
    if grey_range is not None and description.intensity.per != "slice":
        yield from _drift(used, grey_range, volumes)
        yield from _padding(used, grey_range, description.intensity)
        yield from _different_sets(used, grey_range, description)
    for index, name in list(enumerate(names))[1:]:
        yield from _inverted_class(used, index, name, volumes)


def too_few_levels(slices: Sequence[SliceFacts], description: DataDescription) -> str | None:
    """Describe a volume to which the grey range of all leaves too few levels; None without one."""
    used = [facts for facts in slices if facts.split]
    grey_range = sampled_grey_range(used, description.intensity)
    if grey_range is None or description.intensity.per == "slice":
        return None
    return few_levels(grey_range, _volume_summaries(used, description))


def _drift(used: Sequence[SliceFacts], grey_range: GreyRange, volumes: int) -> Iterator[str]:
    drifted = [facts for facts in used if grey_range.outside(facts.grey) > DRIFTED_SHARE]
    if drifted:
        yield (
            f"{len(drifted)} slices, the first {drifted[0].name(volumes)}, have over "
            f"{DRIFTED_SHARE:.0%} of their pixels outside the grey range of the training "
            f"({grey_range.low:g} to {grey_range.high:g}); consider data.intensity.per=slice."
        )


def _padding(
    used: Sequence[SliceFacts], grey_range: GreyRange, intensity: IntensityDescription
) -> Iterator[str]:
    """Report padding that takes grey levels from the tissue."""
    tissue = np.concatenate([facts.tissue for facts in used if facts.split == "train"])
    if not tissue.size:
        return
    low, high = np.percentile(tissue, (intensity.low, intensity.high))
    left = float(high - low) / (grey_range.high - grey_range.low)
    if left < _LEAST_RANGE:
        yield (
            f"padding of one grey value leaves the tissue {left:.0%} of the grey range "
            f"{grey_range.low:g} to {grey_range.high:g}; hide it by a mask (data.volumes.mask), "
            "which leaves it out of the range."
        )


def _different_sets(
    used: Sequence[SliceFacts], grey_range: GreyRange, description: DataDescription
) -> Iterator[str]:
    """Report volumes, or splits of a single volume, that one grey range does not fit."""
    summaries = _volume_summaries(used, description)
    if len(description.volumes) == 1:
        summaries = summarise_parts(
            {
                f"the {split} slices": [facts for facts in used if facts.split == split]
                for split in SPLITS
            }
        )
    # Too few grey levels are an error, and reported as such.
    elif few_levels(grey_range, summaries) is not None:
        return
    first = next(iter(summaries), "")
    for name, summary in list(summaries.items())[1:]:
        # Inversion is judged by the labels.
        yield from summaries[first].doubts_of_scale(summary, first, name)


def _volume_summaries(
    used: Sequence[SliceFacts], description: DataDescription
) -> dict[str, GreySummary]:
    """Summarise the grey values of each volume, by its name for messages."""
    return summarise_parts(
        {
            f"volume {index}, {volume.image}": [facts for facts in used if facts.volume == index]
            for index, volume in enumerate(description.volumes)
        }
    )


def summarise_parts(parts: Mapping[str, Sequence[SliceFacts]]) -> dict[str, GreySummary]:
    """Summarise the grey values of parts of the slices; parts without tissue are left out."""
    return {
        name: summary_of_samples(
            [facts.tissue for facts in slices], sum(facts.grey.size for facts in slices)
        )
        for name, slices in parts.items()
        if any(facts.tissue.size for facts in slices)
    }


def _inverted_class(
    used: Sequence[SliceFacts], index: int, name: str, volumes: int
) -> Iterator[str]:
    """Report a class that is darker than the rest in one place and brighter in another."""
    contrasts: dict[int, list[float]] = {}
    for facts in used:
        if not np.isnan(facts.contrasts[index]):
            contrasts.setdefault(facts.volume, []).append(facts.contrasts[index])
    usual = {volume: median(values) for volume, values in contrasts.items()}
    darker = [volume for volume, contrast in usual.items() if contrast < -_CLEAR_CONTRAST]
    brighter = [volume for volume, contrast in usual.items() if contrast > _CLEAR_CONTRAST]
    if darker and brighter:
        yield (
            f"in volume {darker[0]} class {name} is darker than the rest, in volume "
            f"{brighter[0]} brighter: are the grey values of one of them inverted?"
        )
    for facts in used:
        contrast = facts.contrasts[index]
        expected = usual.get(facts.volume, 0.0)
        # NaN is not above, so that slices without the class are passed over.
        if contrast * expected < 0 and min(abs(contrast), abs(expected)) > _CLEAR_CONTRAST:
            yield (
                f"{facts.name(volumes)}: class {name} is {'darker' if contrast < 0 else 'brighter'}"
                " than the rest, unlike in other slices: are its grey values inverted, or are its "
                "labels those of another slice?"
            )
