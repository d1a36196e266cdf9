"""How the objects of a class are told apart, as a model file says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fibseg.arrays import IGNORE
from fibseg.rules import Rule, among, list_of, number, whole

HEADS = ("none", "contour")
"""What a network learns beside the classes: nothing, or the interiors of objects without their
contours, as a map of each class that has objects."""


@dataclass(frozen=True)
class ObjectRules:
    """How objects of a stack are made.

    Attributes:
        head: one of HEADS; without one, objects are connected components in 3-D.
        classes: names of the classes that have objects, in the order of the head's maps.
        level: of the map, 0 to 1, above which a seed lies.
        overlap: intersection over union from which on objects of neighbouring slices are one.
        smallest: voxels of the smallest object that is kept; the pixels of smaller ones stay in
            their class, and are in no object.
        slices: validation slices by which these were chosen; 0 where they were not.
    """

    head: str
    classes: Sequence[str]
    level: float = 0.5
    overlap: float = 0.5
    smallest: int = 1
    slices: int = 0

    def scaled(self, scale: tuple[float, float]) -> ObjectRules:
        """Give the rules for a stack whose slices a scale (rows, columns) makes those of the model.

        >>> ObjectRules("none", ["a"], smallest=100).scaled((2.0, 2.0)).smallest
        25
        """
        return replace(self, smallest=max(1, round(self.smallest / (scale[0] * scale[1]))))


def has_object_rules(value: Any) -> bool:
    """Whether a value of a model file is None, or the fields of `ObjectRules`."""
    rules = {
        "head": among(*HEADS),
        "classes": list_of(Rule(lambda name: isinstance(name, str), "a text"), 1, IGNORE, True),
        "level": number(0, 1),
        "overlap": number(0, 1),
        "smallest": whole(1, 2**40),
        "slices": whole(0, 10_000),
    }
    return value is None or (
        isinstance(value, dict)
        and value.keys() == rules.keys()
        and all(rule.holds(value[name]) for name, rule in rules.items())
    )
