"""The layers of napari that show a project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from fibseg.annotation.session import Session
from fibseg.annotation.suggestion import Region
from fibseg.arrays import IGNORE, Floats
from fibseg.colors import class_color

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

IMAGE = "image"
LABELS = "labels"
REVIEWED = "reviewed"
PROPOSED = "proposed"
SUGGESTED = "suggested"
UNSURE = "unsure"

_KEYS = 9
"""Keys that choose a class, with Alt: alone they choose napari's tools."""


class Canvas:
    """Adds and changes layers; a layer of the same name is replaced."""

    def __init__(self, viewer: Viewer):
        self._viewer = viewer
        self._scale: list[float] = [1.0, 1.0, 1.0]

    @property
    def z(self) -> int:
        """The slice that is seen."""
        return int(self._viewer.dims.current_step[0])

    def show(self, session: Session, choose: Callable[[int], None]) -> None:
        """Show a project; `choose` gets the position of a class when its key is pressed."""
        state = session.project.state
        self._scale = list(state.voxel_size)
        self.clear()
        middle = session.image[session.image.shape[0] // 2]
        limits = np.percentile(middle, (0.1, 99.9)).tolist()
        # A flat slice has no contrast to show.
        limits = limits if limits[1] > limits[0] else None
        self._viewer.add_image(session.image, name=IMAGE, scale=self._scale, contrast_limits=limits)
        colors = _class_colors(len(state.classes))
        self._add_labels(session.proposed, PROPOSED, colors).opacity = 0.3
        reviewed = self._add_labels(session.reviewed, REVIEWED, {None: None, 0: None, 1: "white"})
        # An outline: what lies inside must be seen.
        reviewed.contour = 3
        labels = self._add_labels(session.labels, LABELS, colors)
        labels.opacity = 0.6
        for position in range(min(_KEYS, len(state.classes))):
            labels.bind_key(f"Alt-{position + 1}", _key(choose, position), overwrite=True)
        self.edit_labels()

    def clear(self) -> None:
        """Take the layers away: what is painted on them would belong to no project."""
        for name in (IMAGE, PROPOSED, REVIEWED, LABELS, SUGGESTED, UNSURE):
            self._remove(name)

    def edit_labels(self) -> None:
        """Let the tools of napari work on the labels."""
        self._viewer.layers.selection.active = self._viewer.layers[LABELS]

    def paint_with(self, value: int) -> None:
        """Choose the value that is painted."""
        if LABELS in self._viewer.layers:
            self._viewer.layers[LABELS].selected_label = value

    def refresh(self) -> None:
        """Draw what has changed in the project."""
        for name in (LABELS, REVIEWED, PROPOSED):
            self._viewer.layers[name].refresh()

    def show_uncertainty(self, z: int, uncertainty: Floats) -> None:
        """Draw over a slice how unsure a model is (H, W), from 0 to 1."""
        self._remove(UNSURE)
        self._viewer.add_image(
            uncertainty[None],
            name=UNSURE,
            scale=self._scale,
            translate=[z * self._scale[0], 0, 0],
            colormap="magma",
            opacity=0.5,
            contrast_limits=(0, 1),
        )

    def show_region(self, region: Region) -> None:
        """Draw a box around a region, and go to its slice."""
        self._remove(SUGGESTED)
        rows = [region.y, region.y, region.y + region.height, region.y + region.height]
        columns = [region.x, region.x + region.width, region.x + region.width, region.x]
        self._viewer.add_shapes(
            [np.column_stack([np.full(4, region.z), rows, columns])],
            name=SUGGESTED,
            scale=self._scale,
            face_color="transparent",
            edge_color="yellow",
            edge_width=3,
        )
        self.edit_labels()
        self._viewer.dims.set_current_step(0, region.z)

    def _add_labels(self, data: Any, name: str, colors: Mapping[int | None, Any]) -> Labels:
        layer = self._viewer.add_labels(data, name=name, scale=self._scale)
        layer.colormap = DirectLabelColormap(color_dict=dict(colors))
        return layer

    def _remove(self, name: str) -> None:
        if name in self._viewer.layers:
            self._viewer.layers.remove(name)


def _key(choose: Callable[[int], None], position: int) -> Callable[[Labels], None]:
    def pressed(_: Labels) -> None:
        choose(position)

    return pressed


def _class_colors(classes: int) -> dict[int | None, Any]:
    """Class index -> colour; pictures of runs have the same."""
    colors: dict[int | None, Any] = {None: None, 0: None, IGNORE: "grey"}
    return colors | {index: class_color(index) for index in range(1, classes + 1)}
