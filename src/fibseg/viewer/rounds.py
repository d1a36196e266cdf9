"""Rounds of training as the window sees them: begun in a thread, trained in a process, compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fibseg.annotation.process import TrainingProcess
from fibseg.annotation.project import AnnotationProject
from fibseg.annotation.rounds import Round, training_command
from fibseg.annotation.validation import mean_of
from fibseg.machine import choose_device
from fibseg.viewer.form import ProjectForm, timer
from fibseg.viewer.workers import Workers, beginning, finishing

_LOOK_EVERY = 500
"""Milliseconds between two looks at a training."""


class RoundRunner:
    """Begins a round, watches its training, and says what it was worth.

    Attributes:
        settings: `key=value` words for the training.
        process: the training that runs; None where none does.
    """

    def __init__(self, form: ProjectForm, workers: Workers, changed: Callable[[], None]):
        self.settings: Sequence[str] = ()
        self.process: TrainingProcess | None = None
        self._form = form
        self._workers = workers
        self._changed = changed
        self._round: tuple[AnnotationProject, Round] | None = None
        self._watching = timer(form, _LOOK_EVERY, form.reporting(self.look))

    @property
    def is_training(self) -> bool:
        """Whether a training runs."""
        return self.process is not None

    def begin(self, project: AnnotationProject) -> None:
        """Freeze what is reviewed, and train on it."""
        self._workers.start(beginning(project), done=lambda entry: self._train(project, entry))

    def stop(self) -> None:
        """Stop the training after its epoch."""
        if self.process is not None:
            self.process.stop()
            self._form.status.setText("The training stops after its epoch.")

    def leave(self) -> None:
        """Stop the training, and watch it no longer."""
        self.stop()
        self._watching.stop()
        self.process = None

    def look(self) -> None:
        """Show how far the training is, and compare its model once it has ended."""
        if self.process is None or self._round is None:
            return
        process = self.process
        project, entry = self._round
        self._form.progress.setValue(round(100 * process.share_done()))
        code = process.exit_code()
        if code is None:
            self._form.status.setText(f"Round {entry.number}: {process.last_line()}")
            return
        self.leave()
        self._changed()
        if code != 0:
            self._form.status.setText(f"Round {entry.number} has stopped: {process.last_line()}")
            return
        self._workers.start(finishing(project, entry, process.seconds), done=self._report)

    def _train(self, project: AnnotationProject, entry: Round) -> None:
        device = f"machine.device={choose_device('auto')}"
        command = training_command(project.folder, entry, [device, *self.settings])
        log = project.folder / "rounds" / f"{entry.number:03d}" / "train.log"
        self._round = (project, entry)
        self.process = TrainingProcess(command, log)
        self._watching.start()
        self._changed()
        self._form.status.setText(f"Round {entry.number} trains; paint on meanwhile.")

    def _report(self, entry: Round) -> None:
        assert entry.after is not None
        before = "" if entry.before is None else f"{mean_of(entry.before):.3f} -> "
        kept = "" if entry.state == "kept" else "; worse, so that the model before it stays"
        self._form.progress.setValue(100)
        self._form.status.setText(
            f"Round {entry.number}: F1 on the validation slices {before}{mean_of(entry.after):.3f}"
            f"{kept}."
        )
