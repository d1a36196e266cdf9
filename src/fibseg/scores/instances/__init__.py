"""Scores of objects: which predicted object is which true one, and what the pairs are worth.

Here: pixels that objects share, matches, precision, recall, panoptic quality, average precision and
variation of information, in slices and over stacks.
Not here: components in the bins of the paper (`fibseg.scores.components`), files of runs.
"""

from fibseg.scores.instances.contingency import Contingency, Ids, contingency
from fibseg.scores.instances.counting import ObjectCounter
from fibseg.scores.instances.figures import InstanceFigures, instance_figures
from fibseg.scores.instances.matching import (
    IOU_THRESHOLDS,
    MatchCounts,
    count_matches,
    pooled_matches,
)
from fibseg.scores.instances.splits import (
    BlockMatches,
    SliceMatches,
    SplitMatches,
    component_ids,
    score_objects,
)

__all__ = [
    "IOU_THRESHOLDS",
    "BlockMatches",
    "Contingency",
    "Ids",
    "InstanceFigures",
    "MatchCounts",
    "ObjectCounter",
    "SliceMatches",
    "SplitMatches",
    "component_ids",
    "contingency",
    "count_matches",
    "instance_figures",
    "pooled_matches",
    "score_objects",
]
