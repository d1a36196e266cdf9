"""The plugin's widget: it shows a project in napari, saves what is painted, and starts rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.qt.threading import thread_worker
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QTimer

from fibseg.annotation.process import TrainingProcess
from fibseg.annotation.project import create_project, open_project
from fibseg.annotation.proposing import judged_slices, propose_slices
from fibseg.annotation.rounds import (
    Round,
    begin_round,
    current_model,
    finish_round,
    mean_of,
    training_command,
)
from fibseg.annotation.session import Session
from fibseg.annotation.suggestion import (
    FOREGROUND,
    RANDOM,
    candidate_slices,
    measured_candidates,
    suggest_regions,
)
from fibseg.arrays import IGNORE
from fibseg.errors import FibsegError
from fibseg.machine import Compute, choose_device, cores
from fibseg.pages.figures import class_color
from fibseg.viewer.form import ProjectForm

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

_SAVE_EVERY = 5_000
"""Milliseconds between two looks at what was painted: a crash loses no more."""

_LOOK_EVERY = 500
"""Milliseconds between two looks at a training."""

_LOOKED_AT = 12
"""Slices of which a suggestion judges the regions."""

LABELS = "labels"
REVIEWED = "reviewed"
PROPOSED = "proposed"


class AnnotationWidget(ProjectForm):
    """Paint, train, correct and train again.

    Attributes:
        session: the arrays of the project that is open; None before.
    """

    def __init__(self, napari_viewer: Viewer):
        super().__init__()
        self.viewer = napari_viewer
        self.session: Session | None = None
        self.settings: Sequence[str] = ()
        self._resources = ExitStack()
        self._training: tuple[Round, TrainingProcess] | None = None
        self._workers: list[Any] = []
        self.open.clicked.connect(self._reporting(self._open_from_lines))
        for name, button in self.buttons.items():
            button.clicked.connect(self._reporting(getattr(self, name)))
        self.choice.currentIndexChanged.connect(self._choose)
        self._saving = _timer(self, _SAVE_EVERY, self._reporting(self.save))
        self._watching = _timer(self, _LOOK_EVERY, self._reporting(self.look))

    def open_folder(self, folder: Path, image: str | None = None) -> None:
        """Open a project and show its layers; the one that was open before is closed.

        Raises:
            FibsegError: there is no such project, or another window has it open.
        """
        self.close_project()
        project = self._resources.enter_context(open_project(folder, image))
        self.session = Session(project)
        self._show_layers(self.session)
        state = project.state
        self.image.setText(state.image)
        self.classes.setText(", ".join(state.classes))
        self.voxel_size.setText(",".join(f"{side:g}" for side in state.voxel_size))
        self.offer_classes(state.classes)
        self._saving.start()
        self.enable(True, running=False)
        self.status.setText(f"{folder}: {len(project.reviewed_slices())} reviewed slices.")

    def close_project(self) -> None:
        """Save what is painted, stop what runs, and let others open the project."""
        self._saving.stop()
        self._watching.stop()
        self.stop()
        for worker in list(self._workers):
            worker.quit()
            worker.await_workers()
        if self.session is not None:
            self.save()
        self._resources.close()
        self.session = None
        self.enable(False, running=False)

    def closeEvent(self, event: Any) -> None:
        """Leave the project as Qt closes the window."""
        self.close_project()
        super().closeEvent(event)

    def save(self) -> list[int]:
        """Save the slices that were painted since the last time; gives them."""
        saved = self._session.save()
        if saved:
            self.status.setText(f"Saved: slice {', '.join(map(str, saved))}.")
        return saved

    def complete(self) -> None:
        """Call the slice that is shown reviewed everywhere."""
        self._session.complete(self.slice_shown)
        self._refresh()
        self.status.setText(f"Slice {self.slice_shown} is complete: unpainted is background.")

    def accept(self) -> None:
        """Take the proposal for the slice that is shown."""
        self._session.accept(self.slice_shown)
        self._refresh()
        self.status.setText(f"Slice {self.slice_shown}: the proposal is taken.")

    def undo(self) -> None:
        """Take back the last saved change, and show its slice."""
        lines = self._session.undo()
        self._refresh()
        self.status.setText(f"Took back {lines[0].strip()}.")

    def train(self) -> None:
        """Begin a round on what is reviewed, in a process of its own."""
        self.save()
        project = self._session.project
        entry = begin_round(project)
        device = [f"machine.device={choose_device('auto')}"]
        command = training_command(project.folder, entry, [*device, *self.settings])
        log = project.folder / "rounds" / f"{entry.number:03d}" / "train.log"
        self._training = (entry, TrainingProcess(command, log))
        self._watching.start()
        self.enable(True, running=True)
        self.status.setText(f"Round {entry.number} trains; paint on meanwhile.")

    def stop(self) -> None:
        """Stop the training after its epoch; the next round goes on from there."""
        if self._training is not None:
            entry, process = self._training
            self._training = None
            process.stop()
            self._watching.stop()
            self.enable(self.session is not None, running=False)
            self.status.setText(f"Round {entry.number} is stopped; Train goes on with it.")

    def look(self) -> None:
        """Show how far the training is, and compare its model once it has ended."""
        if self._training is None:
            return
        entry, process = self._training
        self.progress.setValue(round(100 * process.share_done()))
        code = process.exit_code()
        if code is None:
            self.status.setText(f"Round {entry.number}: {process.last_line()}")
            return
        self._training = None
        self._watching.stop()
        if code != 0:
            self.enable(True, running=False)
            self.status.setText(f"Round {entry.number} ended early: {process.last_line()}")
            return
        project = self._session.project
        self._start(
            _finished(project, entry, process.seconds, self._compute()),
            done=self._report_round,
        )

    def predict_slice(self) -> None:
        """Propose labels for the slice that is shown."""
        self._propose([self.slice_shown])

    def predict_stack(self) -> None:
        """Propose labels for all slices, the shown one first."""
        depth = self._session.image.shape[0]
        shown = self.slice_shown
        self._propose(sorted(range(depth), key=lambda z: abs(z - shown)))

    def unsure(self) -> None:
        """Show where the model is unsure of the slice that is shown."""
        project = self._session.project
        self._start(
            _judged(project, self._model(), [self.slice_shown], self._compute()),
            step=self._show_uncertainty,
        )

    def suggest(self) -> None:
        """Choose the next half slice to paint, and show it."""
        project = self._session.project
        used = [*project.reviewed_slices(), *project.state.splits.get("test", ())]
        slices = candidate_slices(project.image.shape[0], used, _LOOKED_AT)
        if not slices:
            raise FibsegError("every slice is reviewed, or lies beside a reviewed one.")
        run = current_model(project)
        if run is None:
            self._show_suggestion(slices, {})
            return
        measured: dict[int, Any] = {}

        def keep(entry: Any) -> None:
            z, labels, uncertainty = entry
            measured[z] = (labels, uncertainty)
            self.progress.setValue(round(100 * len(measured) / len(slices)))

        self._start(
            _judged(project, run, slices, self._compute(), False),
            step=keep,
            done=lambda _: self._show_suggestion(slices, measured),
        )

    @property
    def slice_shown(self) -> int:
        """The slice that napari shows."""
        return int(self.viewer.dims.current_step[0])

    @property
    def is_busy(self) -> bool:
        """Whether a training or a prediction runs."""
        return self._training is not None or bool(self._workers)

    @property
    def _session(self) -> Session:
        if self.session is None:
            raise FibsegError("no project is open.")
        return self.session

    def _open_from_lines(self) -> None:
        folder = Path(self.folder.text())
        image = self.image.text().strip()
        if not (folder / "project.yaml").exists():
            if not image:
                raise FibsegError(f"{folder}: no project; for a new one, name its image.")
            size = self.voxel_size.text().strip()
            create_project(
                folder=folder,
                name=folder.name,
                image=image,
                classes=[name.strip() for name in self.classes.text().split(",") if name.strip()],
                voxel_size=_numbers(size) if size else None,
            )
            image = ""
        # What a person typed is where the image has moved; else it is the last project's.
        self.open_folder(folder, image if image and self.image.isModified() else None)

    def _show_layers(self, session: Session) -> None:
        for name in ("image", PROPOSED, LABELS, REVIEWED):
            if name in self.viewer.layers:
                self.viewer.layers.remove(name)
        size = session.project.state.voxel_size
        first = session.image[session.image.shape[0] // 2]
        limits = np.percentile(first, (0.1, 99.9)).tolist()
        self.viewer.add_image(session.image, name="image", scale=size, contrast_limits=limits)
        colours = DirectLabelColormap(color_dict=_colours(len(session.project.state.classes)))
        self._add_labels(session.proposed, PROPOSED, colours, 0.3)
        looked_at = DirectLabelColormap(color_dict={0: None, 1: "white", None: None})
        # An outline: what lies inside must be seen.
        self._add_labels(session.reviewed, REVIEWED, looked_at, 0.9).contour = 3
        labels = self._add_labels(session.labels, LABELS, colours, 0.6)
        for index in range(min(9, len(session.project.state.classes))):
            labels.bind_key(str(index + 1), self._key(index), overwrite=True)
        self.viewer.layers.selection.active = labels

    def _add_labels(self, data: Any, name: str, colours: Any, opacity: float) -> Labels:
        size = self._session.project.state.voxel_size
        layer = self.viewer.add_labels(data, name=name, scale=size, opacity=opacity)
        layer.colormap = colours
        return layer

    def _key(self, index: int) -> Callable[[Labels], None]:
        def pressed(_: Labels) -> None:
            self.choice.setCurrentIndex(index)

        return pressed

    def _choose(self, index: int) -> None:
        """Paint with the class that the list names."""
        text = self.choice.itemText(index)
        if text and LABELS in self.viewer.layers:
            self.viewer.layers[LABELS].selected_label = int(text.split()[0])

    def _propose(self, slices: Sequence[int]) -> None:
        self.save()
        run = self._model()
        done: list[int] = []

        def show(z: int) -> None:
            done.append(z)
            self._session.proposed.forget(z)
            self.progress.setValue(round(100 * len(done) / len(slices)))
            self.status.setText(f"Proposed {len(done)} of {len(slices)} slices.")
            if z == self.slice_shown:
                self._refresh()

        project = self._session.project
        self._start(_proposed(project, run, list(slices), self._compute()), step=show)

    def _model(self) -> Path:
        run = current_model(self._session.project)
        if run is None:
            raise FibsegError("no model yet; train a round first.")
        return run

    def _compute(self) -> Compute:
        return Compute(choose_device("auto"), "32", 16, cores())

    def _start(
        self,
        worker: Any,
        step: Callable[[Any], None] | None = None,
        done: Callable[[Any], None] = lambda _: None,
    ) -> None:
        """Start what takes long beside the window."""
        # Of functions that yield alone.
        if step is not None:
            worker.yielded.connect(step)
        worker.returned.connect(done)
        worker.errored.connect(lambda error: self.status.setText(f"Error: {error}"))
        worker.finished.connect(partial(self._ended, worker))
        self._workers.append(worker)
        self.enable(True, running=True)
        worker.start()

    def _ended(self, worker: Any) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
        self.enable(self.session is not None, running=self.is_busy)

    def _report_round(self, entry: Round) -> None:
        assert entry.after is not None
        before = "" if entry.before is None else f"{mean_of(entry.before):.3f} -> "
        kept = "" if entry.state == "kept" else "; worse, so that the model before it stays"
        self.progress.setValue(100)
        self.status.setText(
            f"Round {entry.number}: F1 on the validation slices {before}{mean_of(entry.after):.3f}"
            f"{kept}."
        )

    def _show_uncertainty(self, entry: Any) -> None:
        z, _, uncertainty = entry
        size = self._session.project.state.voxel_size
        if "unsure" in self.viewer.layers:
            self.viewer.layers.remove("unsure")
        self.viewer.add_image(
            uncertainty[None],
            name="unsure",
            scale=size,
            translate=[z * size[0], 0, 0],
            colormap="magma",
            opacity=0.5,
            contrast_limits=(0, 1),
        )

    def _show_suggestion(self, slices: Sequence[int], measured: dict[int, Any]) -> None:
        _, height, width = self._session.image.shape
        judge = measured.__getitem__ if measured else None
        candidates = measured_candidates(slices, (height, width), (height, width // 2), judge)
        seed = self._session.project.journal.count
        (region,) = suggest_regions(candidates, 1, FOREGROUND if measured else RANDOM, seed)
        size = self._session.project.state.voxel_size
        rows = [region.y, region.y, region.y + region.height, region.y + region.height]
        columns = [region.x, region.x + region.width, region.x + region.width, region.x]
        box = np.column_stack([np.full(4, region.z), rows, columns])
        if "suggested" in self.viewer.layers:
            self.viewer.layers.remove("suggested")
        self.viewer.add_shapes(
            [box],
            name="suggested",
            scale=size,
            face_color="transparent",
            edge_color="yellow",
            edge_width=3,
        )
        self.viewer.layers.selection.active = self.viewer.layers[LABELS]
        self.viewer.dims.set_current_step(0, region.z)
        self.status.setText(
            f"Paint slice {region.z}, columns {region.x} to {region.x + region.width}, and mark it "
            f"in the layer {REVIEWED}."
        )

    def _refresh(self) -> None:
        for name in (LABELS, REVIEWED, PROPOSED):
            self.viewer.layers[name].refresh()

    def _reporting(self, action: Callable[[], object]) -> Callable[..., None]:
        """An action whose errors become the sentence that the window shows."""

        def act(*_: object) -> None:
            try:
                action()
            except (FibsegError, OSError) as error:
                self.status.setText(f"Error: {error}")

        return act


def _timer(parent: Any, milliseconds: int, action: Callable[..., None]) -> QTimer:
    timer = QTimer(parent)
    timer.setInterval(milliseconds)
    timer.timeout.connect(action)
    return timer


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise FibsegError(f"{text}: expected a voxel size as z,y,x in nm.") from None


def _colours(classes: int) -> dict[int | None, Any]:
    """Class index -> colour; pictures of runs have the same."""
    colours: dict[int | None, Any] = {None: None, 0: None, IGNORE: "grey"}
    for index in range(1, classes + 1):
        colours[index] = class_color(index)
    return colours


@thread_worker(start_thread=False)
def _proposed(*arguments: Any) -> Iterator[int]:
    yield from propose_slices(*arguments)


@thread_worker(start_thread=False)
def _judged(*arguments: Any) -> Iterator[Any]:
    yield from judged_slices(*arguments)


@thread_worker(start_thread=False)
def _finished(*arguments: Any) -> Round:
    return finish_round(*arguments)
