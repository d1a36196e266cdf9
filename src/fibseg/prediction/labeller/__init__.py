"""What labels a slice: models, windows, and the network that they make together.

Here: the settings of a labeller, its network, labels and maps of a slice. Not here: reading and
filtering slices (`fibseg.prediction.stack`), objects (`fibseg.prediction.instances`).
"""

from fibseg.prediction.labeller.network import (
    Decided,
    decide_slice,
    network_of,
    objects_of,
    scores_with_maps,
)
from fibseg.prediction.labeller.settings import DISAGREEMENT, Labeller

__all__ = [
    "DISAGREEMENT",
    "Decided",
    "Labeller",
    "decide_slice",
    "network_of",
    "objects_of",
    "scores_with_maps",
]
