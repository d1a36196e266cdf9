"""How patches are turned and mirrored before a network sees them.

Microscopes have no up or down, so that all eight flips and quarter turns of a patch are as likely
(Meyer et al., ISBI 2021, section 2.3). Nothing elastic.
"""

from __future__ import annotations

from torch import Tensor


def turned(pixels: Tensor, quarter_turns: int, flip_columns: bool, flip_rows: bool) -> Tensor:
    """Turn (..., h, w) by quarters, counter-clockwise, then mirror columns and rows.

    Args:
        pixels: of a square patch.
        quarter_turns: 0 to 3.
        flip_columns: whether left and right change places.
        flip_rows: whether top and bottom change places.
    """
    # The turn comes before the flips, as in the authors' code: it is part of the patch stream.
    mirrored = [axis for axis, flip in ((-1, flip_columns), (-2, flip_rows)) if flip]
    return pixels.rot90(quarter_turns, (-2, -1)).flip(mirrored)
