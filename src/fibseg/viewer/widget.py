"""The plugin's widget: it shows a project in napari, saves what is painted, and starts rounds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent

from fibseg.annotation.opening import create_project, opened_project
from fibseg.annotation.rounds import current_model
from fibseg.annotation.session import Session
from fibseg.annotation.state import STATE_FILE
from fibseg.annotation.suggestion import (
    AT_RANDOM,
    BY_FOREGROUND,
    suggest_regions,
    unreviewed_regions,
    unreviewed_slices,
)
from fibseg.data.splits import split_of
from fibseg.errors import FibsegError
from fibseg.viewer.canvas import REVIEWED, Canvas
from fibseg.viewer.form import ProjectForm, timer
from fibseg.viewer.rounds import RoundRunner
from fibseg.viewer.workers import Workers, judging, proposing

if TYPE_CHECKING:
    from napari.viewer import Viewer

_SAVE_EVERY = 5_000
"""Milliseconds between two looks at what was painted: a crash loses no more."""

_LOOKED_AT = 12
"""Slices of which a suggestion judges the regions."""


class AnnotationWidget(ProjectForm):
    """Paint, train, correct and train again.

    Attributes:
        viewer: napari's.
        session: the arrays of the project that is open; None before.
        rounds: begins and watches trainings.
    """

    def __init__(self, napari_viewer: Viewer):
        super().__init__()
        self.viewer = napari_viewer
        self.session: Session | None = None
        self._canvas = Canvas(napari_viewer)
        self._resources = ExitStack()
        self._workers = Workers(self._enable, lambda error: self.status.setText(f"Error: {error}"))
        self.rounds = RoundRunner(self, self._workers, self._enable)
        self.open.clicked.connect(self.reporting(self._open_from_lines))
        for name, button in self.buttons.items():
            button.clicked.connect(self.reporting(getattr(self, name)))
        self.choice.currentIndexChanged.connect(self._choose)
        self._saving = timer(self, _SAVE_EVERY, self.reporting(self.save))

    def open_folder(self, folder: Path, image: str | None = None) -> None:
        """Open a project and show its layers; the one that was open before is closed.

        Raises:
            FibsegError: there is no such project, or another window has it open; then the one that
                was open stays so.
        """
        if self.session is not None and self.session.project.folder == folder:
            self.close_project()
        with ExitStack() as attempt:
            project = attempt.enter_context(opened_project(folder, image))
            reviewed = len(project.reviewed_slices())
            self.close_project()
            self._resources = attempt.pop_all()
        self.session = Session(project)
        self._canvas.show(self.session, self.choice.setCurrentIndex)
        self.show_state(project.state)
        # Closing napari closes its main window, and sends no event to what is docked in it.
        self.window().installEventFilter(self)
        self._saving.start()
        self._enable()
        self.status.setText(f"{folder}: {reviewed} reviewed slices.")

    def close_project(self) -> None:
        """Save what is painted, stop what runs, and let others open the project."""
        if self.session is None:
            return
        self._saving.stop()
        self.rounds.leave()
        self._workers.stop()
        try:
            self.save()
        finally:
            self._resources.close()
            self.session = None
            self._canvas.clear()
            self._enable()

    def event(self, event: Any) -> bool:
        """Close the project when napari takes the widget out of its window."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.reporting(self.close_project)()
        return bool(super().event(event))

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Close the project with the window."""
        if event.type() == QEvent.Type.Close:
            self.reporting(self.close_project)()
        return bool(super().eventFilter(watched, event))

    def save(self) -> list[int]:
        """Save the slices that were painted since the last time; gives them."""
        saved = self._session.save()
        if saved:
            self.status.setText(f"Saved: slice {', '.join(map(str, saved))}.")
        return saved

    def complete(self) -> None:
        """Call the slice that is seen reviewed everywhere."""
        self._session.complete(self._canvas.z)
        self._canvas.refresh()
        self.status.setText(
            f"Slice {self._canvas.z} is complete: unpainted is background{self._split_of_slice()}."
        )

    def accept(self) -> None:
        """Take the proposal for the slice that is seen."""
        self._session.accept(self._canvas.z)
        self._canvas.refresh()
        self.status.setText(
            f"Slice {self._canvas.z}: the proposal is taken{self._split_of_slice()}."
        )

    def undo(self) -> None:
        """Take back the last saved change."""
        lines = self._session.undo()
        self._canvas.refresh()
        self.status.setText(f"Took back {lines[0].strip()}.")

    def train(self) -> None:
        """Begin a round on what is reviewed, in a process of its own."""
        self.save()
        self.rounds.begin(self._session.project)

    def stop(self) -> None:
        """Stop the training after its epoch; the next round goes on if nothing was painted."""
        self.rounds.stop()

    def predict_slice(self) -> None:
        """Propose labels for the slice that is seen."""
        self._propose([self._canvas.z])

    def predict_stack(self) -> None:
        """Propose labels for all slices, the one that is seen first."""
        depth = self._session.image.shape[0]
        z = self._canvas.z
        self._propose(sorted(range(depth), key=lambda other: abs(other - z)))

    def unsure(self) -> None:
        """Show where the model is unsure of the slice that is seen."""
        worker = judging(self._session.project, self._model(), [self._canvas.z], True)
        self._workers.start(
            worker, step=lambda entry: self._canvas.show_uncertainty(entry[0], entry[2])
        )

    def suggest(self) -> None:
        """Choose the next half slice to paint, and show it."""
        project = self._session.project
        slices = unreviewed_slices(project, _LOOKED_AT)
        run = current_model(project)
        measured: dict[int, Any] = {}
        if run is None:
            self._suggest_of(slices, measured)
            return

        def keep(entry: Any) -> None:
            z, labels, uncertainty = entry
            measured[z] = (labels, uncertainty)
            self.progress.setValue(round(100 * len(measured) / len(slices)))

        worker = judging(project, run, slices, False)
        self._workers.start(worker, step=keep, done=lambda _: self._suggest_of(slices, measured))

    @property
    def is_busy(self) -> bool:
        """Whether a training or a prediction runs."""
        return self.rounds.is_training or bool(self._workers)

    @property
    def _session(self) -> Session:
        if self.session is None:
            raise FibsegError("no project is open.")
        return self.session

    def _enable(self) -> None:
        self.enable(
            opened=self.session is not None,
            training=self.rounds.is_training,
            busy=bool(self._workers),
        )

    def _open_from_lines(self) -> None:
        folder = Path(self.folder.text())
        image = self.image.text().strip()
        if not (folder / STATE_FILE).exists():
            if not image:
                raise FibsegError(f"{folder}: no project; for a new one, name its image.")
            create_project(
                folder=folder,
                name=folder.name,
                image=image,
                classes=self.class_names(),
                voxel_size=self.size_in_nm(),
            )
            image = ""
        wanted = self.class_names() if self.classes.isModified() else []
        # What a person typed is where the image has moved; else it is the last project's.
        self.open_folder(folder, image if image and self.image.isModified() else None)
        project = self._session.project
        fresh = [name for name in wanted if name not in project.state.classes]
        if fresh:
            project.add_classes(fresh)
            self.show_state(project.state)
            self._canvas.show(self._session, self.choice.setCurrentIndex)

    def _split_of_slice(self) -> str:
        """What else a person should know of the slice that is seen."""
        split = split_of(self._session.project.state.splits, self._canvas.z)
        return (
            f"; it is in {split}, and teaches no round" if split in ("validation", "test") else ""
        )

    def _choose(self, index: int) -> None:
        """Paint with the class that the list names."""
        text = self.choice.itemText(index)
        if text:
            self._canvas.paint_with(int(text.split()[0]))

    def _propose(self, slices: Sequence[int]) -> None:
        self.save()
        done: list[int] = []

        def keep(z: int) -> None:
            done.append(z)
            self._session.proposed.forget(z)
            self.progress.setValue(round(100 * len(done) / len(slices)))
            self.status.setText(f"Proposed {len(done)} of {len(slices)} slices.")
            if z == self._canvas.z:
                self._canvas.refresh()

        worker = proposing(self._session.project, self._model(), list(slices))
        self._workers.start(worker, step=keep)

    def _model(self) -> Path:
        run = current_model(self._session.project)
        if run is None:
            raise FibsegError("no model yet; train a round first.")
        return run

    def _suggest_of(self, slices: Sequence[int], measured: dict[int, Any]) -> None:
        project = self._session.project
        _, height, width = project.image.shape
        judge = measured.__getitem__ if measured else None
        candidates = unreviewed_regions(project, slices, (height, width // 2), judge)
        seed = project.journal.count
        (region,) = suggest_regions(candidates, 1, BY_FOREGROUND if measured else AT_RANDOM, seed)
        self._canvas.show_region(region)
        self.status.setText(
            f"Paint slice {region.z}, columns {region.x} to {region.x + region.width}, and mark it "
            f"in the layer {REVIEWED}."
        )
