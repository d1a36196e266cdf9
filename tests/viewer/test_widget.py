"""The plugin in a window that no screen shows: paint, train two rounds, correct, close."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibseg.annotation import opened_project
from fibseg.annotation.rounds import rounds_of
from fibseg.phantom import make_phantom
from fibseg.stack import write_stack

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
napari = pytest.importorskip(
    "napari", reason="no napari here (pip install 'fibseg[napari]'): its plugin is not tried"
)
pytest.importorskip(
    "qtpy.QtWidgets",
    reason="Qt finds no libEGL or libGL here: napari's plugin is not tried",
    exc_type=ImportError,
)
pytestmark = [
    pytest.mark.slow(seconds=40),
    pytest.mark.filterwarnings("ignore"),
]

TINY = [
    *("model.width=2", "model.norm_momentum=0.1", "patches.size=32", "training.batches=4"),
    *("training.validation_batches=2", "training.precision=32", "machine.threads=1"),
    *("machine.processes=1", "training.epochs=2"),
]
SHAPE = (12, 96, 128)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, np.ndarray]:
    """A stack, and its labels."""
    folder = tmp_path_factory.mktemp("stack")
    image, labels = make_phantom(SHAPE, seed=0)
    write_stack(folder / "image.tif", image, [20, 5, 5])
    return str(folder / "image.tif"), labels


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A viewer with the plugin's widget, found by its manifest as napari does it."""
    if os.environ["QT_QPA_PLATFORM"] == "offscreen":
        # Without a screen there is no OpenGL to ask what it can do.
        layers = "napari._vispy.layers"
        monkeypatch.setattr(f"{layers}.image.get_gl_extensions", lambda: "")
        for name in ("base", "image", "labels"):
            sizes = f"{layers}.{name}.get_max_texture_sizes"
            monkeypatch.setattr(sizes, lambda: (4096, 4096), raising=False)
    viewer = napari.Viewer(show=False)
    _, widget = viewer.window.add_plugin_dock_widget("fibseg", "Paint and train")
    yield widget
    viewer.close()


def wait_for(condition: Callable[[], bool], seconds: float = 240) -> None:
    """Let Qt work until a condition holds."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        QApplication.processEvents()
        time.sleep(0.02)


def make(widget: Any, folder: Path, stack: str) -> None:
    """Make a project through the lines of the form."""
    widget.folder.setText(str(folder))
    widget.image.setText(stack)
    widget.classes.setText("mitochondrion, membrane, er")
    widget.open.click()
    assert widget.session is not None, widget.status.text()
    widget.rounds.settings = TINY


def paint(widget: Any, z: int, truth: np.ndarray) -> None:
    """Paint a slice as a person does, by a brush of one pixel, and call it complete."""
    widget.viewer.dims.set_current_step(0, z)
    layer = widget.viewer.layers["labels"]
    layer.brush_size = 1
    for index in (1, 2, 3):
        widget.choice.setCurrentIndex(index - 1)
        assert layer.selected_label == index
        y, x = np.nonzero(truth == index)
        layer.data_setitem((np.full(y.shape, z), y, x), index)
    widget.buttons["complete"].click()


def test_an_evening_in_the_window(
    window: Any, stack: tuple[str, np.ndarray], tmp_path: Path
) -> None:
    path, truth = stack
    folder = tmp_path / "cell"
    make(window, folder, path)
    np.testing.assert_array_equal(window.viewer.layers["image"].data[3].shape, SHAPE[1:])
    keys = {str(key): press for key, press in window.viewer.layers["labels"].keymap.items()}
    keys["Alt+2"](window.viewer.layers["labels"])
    assert window.viewer.layers["labels"].selected_label == 2
    window.buttons["train"].click()
    wait_for(lambda: not window.is_busy)
    assert "at least two are needed" in window.status.text()
    # A stroke of the brush, which is saved by itself.
    layer = window.viewer.layers["labels"]
    layer.brush_size = 5
    layer.paint((1, 50, 60), 2)
    layer.paint((2, 50, 60), 9)
    # Nobody presses anything: it is saved by itself, but for a value that is no class.
    wait_for(lambda: window.session.project.layers.labels(1)[50, 60] == 2, seconds=15)
    assert "value 9 is no class of the project" in window.status.text()
    assert not layer.data[2].any()
    window.buttons["undo"].click()
    assert not layer.data[1].any()
    for z in (1, 6):
        paint(window, z, truth[z])
    # The first round.
    window.buttons["train"].click()
    wait_for(lambda: "Round 1" in window.status.text())
    assert window.buttons["stop"].isEnabled() and not window.buttons["train"].isEnabled()
    # Nothing blocks: a person paints on.
    layer.paint((4, 20, 20), 1)
    wait_for(lambda: not window.is_busy)
    assert "Round 1: F1 on the validation slices" in window.status.text()
    # Proposals, and one that is accepted and corrected.
    window.viewer.dims.set_current_step(0, 3)
    window.buttons["predict_slice"].click()
    wait_for(lambda: not window.is_busy)
    window.buttons["accept"].click()
    paint(window, 3, truth[3])
    window.buttons["unsure"].click()
    wait_for(lambda: not window.is_busy)
    assert "unsure" in window.viewer.layers
    window.buttons["suggest"].click()
    wait_for(lambda: not window.is_busy)
    assert "suggested" in window.viewer.layers and "Paint slice" in window.status.text()
    # The second round goes on from the first.
    window.buttons["train"].click()
    wait_for(lambda: not window.is_busy)
    assert "Round 2: F1" in window.status.text() and "->" in window.status.text()
    window.viewer.close()
    assert window.session is None
    first, second = rounds_of(folder)
    assert second.start is not None and "rounds/001/" in second.start
    assert first.after is not None and second.after is not None
    with opened_project(folder) as project:
        labels = project.layers.labels(3)
        np.testing.assert_array_equal(labels[truth[3] > 0], truth[3][truth[3] > 0])
        assert project.layers.labels(4)[20, 20] == 1


def test_it_closes_while_a_training_runs(
    window: Any, stack: tuple[str, np.ndarray], tmp_path: Path
) -> None:
    path, truth = stack
    folder = tmp_path / "cell"
    make(window, folder, path)
    for z in (1, 6):
        paint(window, z, truth[z])
    window.rounds.settings = [*TINY, "training.epochs=500"]
    window.buttons["train"].click()
    wait_for(lambda: window.rounds.is_training)
    process = window.rounds.process
    wait_for(lambda: process.share_done() > 0)
    window.viewer.layers["labels"].paint((5, 20, 20), 1)
    # Another project that cannot be opened: this one stays open, and takes what is painted.
    window.folder.setText(str(tmp_path / "none"))
    window.image.setText("")
    window.open.click()
    assert "no project; for a new one, name its image" in window.status.text()
    window.viewer.window.remove_dock_widget(window)
    assert window.session is None and "labels" not in window.viewer.layers
    wait_for(lambda: process.exit_code() is not None)
    with opened_project(folder) as project:
        assert project.layers.labels(5)[20, 20] == 1
