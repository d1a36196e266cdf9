"""Objects of a class: told apart in each slice, and linked along z to objects of the stack.

Here: objects of a slice by the maps of a head, links between slices, the choice of their rules.
Not here: the maps themselves (`fibseg.models.objects`), scores and measures (`fibseg.scores`).
"""

from fibseg.prediction.instances.linking import Links, linked_slices
from fibseg.prediction.instances.slices import common_rules, slice_objects

__all__ = ["Links", "common_rules", "linked_slices", "slice_objects"]
