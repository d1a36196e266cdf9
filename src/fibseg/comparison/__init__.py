"""Finished runs side by side: scores, components, contrasts and their statistics, as tables.

Here: one `Dataset` per data set, from which every table and sentence is computed, without torch.
Not here: pages and figures (`fibseg.pages`), reading and collecting runs (`fibseg.runs`).
"""

from fibseg.comparison.contrasts import Contrast
from fibseg.comparison.dataset import Dataset, datasets_of
from fibseg.comparison.inference import Interval, family_test, seeds_needed, t_interval
from fibseg.comparison.pairings import Questions
from fibseg.comparison.report import (
    ComparisonOptions,
    Report,
    check_thin_classes,
    report_on,
    write_tables,
)
from fibseg.comparison.text import Table

__all__ = [
    "ComparisonOptions",
    "Contrast",
    "Dataset",
    "Interval",
    "Questions",
    "Report",
    "Table",
    "check_thin_classes",
    "datasets_of",
    "family_test",
    "report_on",
    "seeds_needed",
    "t_interval",
    "write_tables",
]
