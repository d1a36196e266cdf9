"""Statistics of paired scores, numbers in and numbers out: intervals, families of tests, power.

Which configurations are compared, and what is said of it, is in the package above.
"""

from fibseg.comparison.inference.families import (
    SEEDS_FOR_TEST,
    TEST_LEVEL,
    FamilyTest,
    family_test,
)
from fibseg.comparison.inference.intervals import Interval, t_interval
from fibseg.comparison.inference.power import MOST_SEEDS, seeds_needed, seeds_needed_range
from fibseg.comparison.inference.slices import (
    FEWEST_SLICES,
    SEEDS_FOR_SLICES,
    SLICES_FOR_INTERVAL,
    pooled_values,
    slice_interval,
)

__all__ = [
    "FEWEST_SLICES",
    "MOST_SEEDS",
    "SEEDS_FOR_SLICES",
    "SEEDS_FOR_TEST",
    "SLICES_FOR_INTERVAL",
    "TEST_LEVEL",
    "FamilyTest",
    "Interval",
    "family_test",
    "pooled_values",
    "seeds_needed",
    "seeds_needed_range",
    "slice_interval",
    "t_interval",
]
