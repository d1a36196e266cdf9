"""A data description: the schema of conf/data/*.yaml and the checks that need no file.

Here: its keys, and what contradicts itself in it; docs/ARCHITECTURE.md shows a full example.
Not here: files, and what they contradict (`fibseg.data.volume`).
"""

from fibseg.data.description.checks import check_description, check_names
from fibseg.data.description.schema import (
    SPLITS,
    BackgroundDescription,
    ClassDescription,
    DataDescription,
    IntensityDescription,
    PhantomDescription,
    SecondExpert,
    VolumeDescription,
    class_names,
    class_weights,
    instance_classes,
    label_values,
)

__all__ = [
    "SPLITS",
    "BackgroundDescription",
    "ClassDescription",
    "DataDescription",
    "IntensityDescription",
    "PhantomDescription",
    "SecondExpert",
    "VolumeDescription",
    "check_description",
    "check_names",
    "class_names",
    "class_weights",
    "instance_classes",
    "label_values",
]
