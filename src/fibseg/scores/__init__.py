"""Numbers that say how good labels are, and measures of labelled objects; NumPy and SciPy only.

Here: pure functions from label arrays to counts, scores and measures.
Not here: files of runs (`fibseg.runs`), tables over runs (`fibseg.comparison`).
"""

from fibseg.scores.boundaries import boundary_counts, boundary_f1, cl_dice
from fibseg.scores.components import (
    PAPER_BINS,
    Bins,
    Component,
    Detection,
    count_detections,
    find_components,
)
from fibseg.scores.measures import (
    ClassMeasures,
    ObjectMeasures,
    measure_classes,
)
from fibseg.scores.pixels import (
    confusion_counts,
    f1_by_class,
    f1_scores,
    mean_f1,
    slices_with_class,
)
from fibseg.scores.slices import (
    ClassScore,
    SliceScore,
    SplitScore,
    confusions_of,
    score_slices,
    summarise,
)

# `fibseg.scores.objects` is imported by its full name: its library, cc3d, is needed for it alone.
__all__ = [
    "PAPER_BINS",
    "Bins",
    "ClassMeasures",
    "ClassScore",
    "Component",
    "Detection",
    "ObjectMeasures",
    "SliceScore",
    "SplitScore",
    "boundary_counts",
    "boundary_f1",
    "cl_dice",
    "confusion_counts",
    "confusions_of",
    "count_detections",
    "f1_by_class",
    "f1_scores",
    "find_components",
    "mean_f1",
    "measure_classes",
    "score_slices",
    "slices_with_class",
    "summarise",
]
