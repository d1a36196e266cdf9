"""The settings by which a stack is labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fibseg.machine import Compute
from fibseg.models.objects import ObjectRules
from fibseg.models.trained import TrainedModel
from fibseg.prediction.memory import Load
from fibseg.prediction.windows import Windows

DISAGREEMENT = "disagreement"
"""Name of the layer that holds the share of models whose class is another one."""


@dataclass(frozen=True)
class Labeller:
    """What labels a slice.

    Attributes:
        models: one, or several to average.
        windows: how a slice is cut.
        compute: what the networks compute with.
        scale: (rows, columns) that enlarge a slice for the network; labels are brought back to the
            size of the stack.
        turned: average over the eight flips and rotations.
        layers: beside the labels: DISAGREEMENT, or a class name for its probability.
        objects: how objects are told apart; None where they are not wanted.
        load: less than `windows` and `compute` ask for, where the memory does not bear that.
    """

    models: Sequence[TrainedModel]
    windows: Windows
    compute: Compute
    scale: tuple[float, float] = (1.0, 1.0)
    turned: bool = False
    layers: Sequence[str] = ()
    objects: ObjectRules | None = None
    load: Load | None = None

    @property
    def first_load(self) -> Load:
        """How much of a slice is seen at once, until memory is short."""
        return self.load or Load(self.windows, self.compute.batch_size)

    @property
    def has_maps(self) -> bool:
        """Whether maps of a head are needed beside the labels."""
        return self.objects is not None and self.objects.head != "none"

    @property
    def context(self) -> int:
        """Slices on each side that some model sees with a slice."""
        return max(model.channels.context for model in self.models)
