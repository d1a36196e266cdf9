"""Heads that tell objects of a class apart: what they learn, and how objects are made of it.

Here: the maps that a head learns, and the rules of objects in a model file. Not here: objects of
slices and stacks (`fibseg.prediction.instances`).
"""

from fibseg.models.objects.rules import HEADS, ObjectRules, has_object_rules

__all__ = ["HEADS", "ObjectRules", "has_object_rules"]
