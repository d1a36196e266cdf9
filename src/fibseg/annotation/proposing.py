"""Labels that a model proposes for slices of a project, and how unsure it is of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fibseg.annotation.project import AnnotationProject
from fibseg.annotation.suggestion import uncertainty_of
from fibseg.arrays import Floats, UInt8
from fibseg.errors import FibsegError
from fibseg.runs.directory import find_checkpoint

if TYPE_CHECKING:
    from fibseg.machine import Compute
    from fibseg.models.trained import TrainedModel
    from fibseg.prediction.stack import LabelledSlice
    from fibseg.prediction.windows import Windows

_TILE = 1024
"""Side of tiles where a slice is too large for one pass."""


def fast_windows(model: TrainedModel, shape: Sequence[int]) -> Windows:
    """Choose the fastest windows of a model for slices of a stack (Z, H, W): a person waits."""
    from fibseg.prediction.ensemble import common_windows

    bears_whole = "whole" in model.kind.windows and not model.channels.by_patch
    kind = "whole" if bears_whole else "auto"
    return common_windows([model], kind, _TILE, shape[1] * shape[2])


def propose_slices(
    project: AnnotationProject, run: Path, slices: Sequence[int], compute: Compute
) -> Iterator[int]:
    """Label slices by a model and keep them as proposals; gives each slice when it is done.

    Raises:
        FibsegError: a slice or the model cannot be read, or it knows no class of the project.
    """
    for labelled in _labelled(project, run, slices, compute):
        assert labelled.labels is not None
        project.propose(labelled.z, labelled.labels)
        yield labelled.z


def judged_slices(
    project: AnnotationProject,
    run: Path,
    slices: Sequence[int],
    compute: Compute,
    turned: bool = True,
) -> Iterator[tuple[int, UInt8, Floats]]:
    """Give slice, class indices (H, W) and uncertainty (H, W) of slices.

    Args:
        project: whose slices they are.
        run: directory or file of the model.
        slices: in the order in which they come.
        compute: what the network computes with.
        turned: average over the eight turns of each slice, which takes eight times as long.

    Raises:
        FibsegError: as `propose_slices`.
    """
    for labelled in _labelled(project, run, slices, compute, layers=True, turned=turned):
        assert labelled.labels is not None
        shares = np.stack(labelled.layers).astype(np.float32) / 255
        yield labelled.z, labelled.labels, uncertainty_of(shares)


def _labelled(
    project: AnnotationProject,
    run: Path,
    slices: Sequence[int],
    compute: Compute,
    layers: bool = False,
    turned: bool = False,
) -> Iterator[LabelledSlice]:
    """Label slices with the project's class indices."""
    from dataclasses import replace

    from fibseg.models.trained import load_model
    from fibseg.prediction.labeller import Labeller
    from fibseg.prediction.stack import label_stack

    model = load_model(find_checkpoint(run))
    names = project.state.classes
    known = [names.index(name) + 1 if name in names else 0 for name in model.class_names]
    if not any(known):
        raise FibsegError(
            f"{run}: knows {', '.join(model.class_names[1:])}, none of the classes of the project "
            f"({', '.join(names)})."
        )
    table = np.array(known, np.uint8)
    labeller = Labeller(
        models=[model],
        windows=fast_windows(model, project.image.shape),
        compute=compute,
        turned=turned,
        layers=model.class_names if layers else (),
    )
    for labelled in label_stack(labeller, project.image, slices):
        if labelled.error is not None:
            raise labelled.error
        assert labelled.labels is not None
        yield replace(labelled, labels=table[labelled.labels])
