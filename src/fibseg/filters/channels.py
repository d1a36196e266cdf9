"""What a network sees of a slice: the image, its versions by the grain filter, its neighbours.

The question whether the filter works on whole slices or on each patch is answered here alone.
"""

from __future__ import annotations

from dataclasses import dataclass

SCOPES = ("slice", "patch")

MOST_CONTEXT = 16
"""Slices on each side of a slice that a network may see, at most."""


@dataclass(frozen=True)
class Channels:
    """The channels of a network: the image, one filtered version for each area, the neighbours.

    Attributes:
        areas: limits of the grain filter in pixels, in the order of the channels.
        scope: what is filtered: "slice", the whole slice once, or "patch", each patch and each
            window of a prediction by itself, as the authors of the paper did.
        context: slices on each side that are channels too, unfiltered.
    """

    areas: tuple[int, ...] = ()
    scope: str = "slice"
    context: int = 0

    @property
    def count(self) -> int:
        """Number of channels, the image included."""
        return 1 + len(self.areas) + 2 * self.context

    @property
    def by_patch(self) -> bool:
        """Whether single patches and windows are filtered, so that no window may be larger."""
        # Without areas nothing is filtered, whatever the scope says.
        return bool(self.areas) and self.scope == "patch"

    @property
    def slice_areas(self) -> tuple[int, ...]:
        """Areas by which whole slices are filtered; none where single patches are."""
        # One of the two ways filters an image, never both.
        return () if self.by_patch else self.areas

    @property
    def names(self) -> list[str]:
        """Name of each channel, in order.

        >>> Channels((650, 3200), context=1).names
        ['image', 'grain 650', 'grain 3200', 'image -1', 'image +1']
        """
        # As `fibseg.stack.Stack.neighbours` orders them.
        offsets = [sign * k for k in range(1, self.context + 1) for sign in (-1, 1)]
        return [
            "image",
            *(f"grain {area}" for area in self.areas),
            *(f"image {offset:+d}" for offset in offsets),
        ]
