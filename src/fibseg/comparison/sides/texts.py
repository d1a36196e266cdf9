"""Both sides of a contrast in words."""

from __future__ import annotations

from collections.abc import Sequence


def side_text(names: Sequence[str], question: str) -> str:
    """Name a side of a contrast."""
    if question == "interaction":
        return " + ".join(names)
    return names[0] if len(names) == 1 else f"mean of {', '.join(names)}"


def runs_cell(runs: tuple[int, int], paired: bool) -> str:
    """Number of seeds, or without pairs of the runs of the second and the first side.

    >>> runs_cell((8, 8), True), runs_cell((8, 3), False)
    ('8', '3 and 8')
    """
    return str(runs[0]) if paired else f"{runs[1]} and {runs[0]}"


def runs_text(runs: tuple[int, int], paired: bool) -> str:
    """The same with its noun.

    >>> runs_text((1, 1), True), runs_text((8, 8), True), runs_text((8, 1), False)
    ('1 seed', '8 seeds', '1 and 8 runs')
    """
    noun = "runs" if not paired else "seed" if runs[0] == 1 else "seeds"
    return f"{runs_cell(runs, paired)} {noun}"
