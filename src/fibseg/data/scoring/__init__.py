"""Scores of one label stack against another, which are read slice by slice.

Here: which slices and values are compared, pixels and components by class (`stacks`), objects by
their ids or as components (`objects`).
Not here: the scores themselves (`fibseg.scores`).
"""

from fibseg.data.scoring.stacks import (
    StackPair,
    agreed_names,
    describe_labels,
    describe_pair,
    pair_stacks,
    score_stacks,
)

# `fibseg.data.scoring.objects` is imported by its full name: its library, cc3d, is needed for it.
__all__ = [
    "StackPair",
    "agreed_names",
    "describe_labels",
    "describe_pair",
    "pair_stacks",
    "score_stacks",
]
