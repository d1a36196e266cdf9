"""The buttons and lines of the plugin, without what they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qtpy.QtCore import QTimer
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from fibseg.annotation.state import ProjectState
from fibseg.colors import class_color
from fibseg.errors import FibsegError

BUTTON_GROUPS: Mapping[str, Mapping[str, str]] = {
    "Paint": {
        "complete": "Slice is complete",
        "accept": "Accept proposal",
        "undo": "Undo last saved change",
        "suggest": "Suggest what to paint",
    },
    "Train": {
        "train": "Train a round",
        "stop": "Stop",
    },
    "Predict": {
        "predict_slice": "Propose this slice",
        "predict_stack": "Propose the whole stack",
        "unsure": "Show where the model is unsure",
    },
}
"""Title of a group -> name of an action -> text of its button."""


class ProjectForm(QWidget):
    """Lines that name a project, its classes, and a button for each action.

    Attributes:
        folder: line with the folder of the project.
        image: line with the image, to make a project.
        classes: line with the names of its classes, with commas between them.
        voxel_size: line with its voxel size as z,y,x in nm.
        open: button that opens or makes the project.
        choice: the class that is painted.
        buttons: by the name of the action.
        progress: of what runs.
        status: a sentence on what happened last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = QLineEdit("annotations/cell")
        self.image = QLineEdit()
        self.classes = QLineEdit("mitochondrion")
        self.voxel_size = QLineEdit()
        self.open = QPushButton("Open or make")
        self.choice = QComboBox()
        self.buttons: dict[str, QPushButton] = {}
        self.progress = QProgressBar()
        self.progress.setRange(0, 100)
        self.status = QLabel("Name a folder; for a new project also its image and classes.")
        self.status.setWordWrap(True)
        lines = QFormLayout()
        lines.addRow("Project", self.folder)
        lines.addRow("Image", self.image)
        lines.addRow("Classes", self.classes)
        lines.addRow("Voxel size, nm", self.voxel_size)
        lines.addRow(self.open)
        lines.addRow("Class to paint", self.choice)
        column = QVBoxLayout(self)
        column.addLayout(lines)
        for title, actions in BUTTON_GROUPS.items():
            column.addWidget(self._group(title, actions))
        column.addWidget(self.progress)
        column.addWidget(self.status)
        column.addStretch()

    def _group(self, title: str, actions: Mapping[str, str]) -> QGroupBox:
        group = QGroupBox(title)
        grid = QGridLayout(group)
        for position, (name, text) in enumerate(actions.items()):
            self.buttons[name] = QPushButton(text)
            self.buttons[name].setEnabled(False)
            grid.addWidget(self.buttons[name], position // 2, position % 2)
        return group

    def class_names(self) -> list[str]:
        """Give the names of the classes that a person typed."""
        return [name.strip() for name in self.classes.text().split(",") if name.strip()]

    def size_in_nm(self) -> list[float] | None:
        """Give the voxel size (z, y, x) that a person typed; None for that of the image.

        Raises:
            FibsegError: it is no size.
        """
        text = self.voxel_size.text().strip()
        try:
            return [float(part) for part in text.split(",")] if text else None
        except ValueError:
            raise FibsegError(f"{text}: expected a voxel size as z,y,x in nm.") from None

    def show_state(self, state: ProjectState) -> None:
        """Show what a project is of, and offer its classes, each with the key that chooses it."""
        self.image.setText(state.image)
        self.classes.setText(", ".join(state.classes))
        self.voxel_size.setText(",".join(f"{side:g}" for side in state.voxel_size))
        self.choice.clear()
        for index, name in enumerate(state.classes, 1):
            self.choice.addItem(_swatch(index), f"{index}  {name}")
        self.choice.addItem("0  background (erase)")
        self.choice.addItem("255  unsure")

    def enable(self, opened: bool, training: bool, busy: bool) -> None:
        """Let a person press what makes sense: one training, one prediction at a time."""
        for name, button in self.buttons.items():
            waits = busy and (name == "suggest" or name in BUTTON_GROUPS["Predict"])
            waits |= (training or busy) and name == "train"
            waits |= not training and name == "stop"
            button.setEnabled(opened and not waits)

    def reporting(self, action: Callable[[], object]) -> Callable[..., None]:
        """Give an action whose errors become the sentence that the window shows."""

        def act(*_: object) -> None:
            try:
                action()
            except (FibsegError, OSError) as error:
                self.status.setText(f"Error: {error}")

        return act


def _swatch(index: int) -> QIcon:
    """A square in the colour of a class."""
    picture = QPixmap(12, 12)
    picture.fill(QColor.fromRgbF(*class_color(index)))
    return QIcon(picture)


def timer(parent: QWidget, milliseconds: int, action: Callable[..., None]) -> QTimer:
    """Make a timer that calls an action again and again, once it is started."""
    made = QTimer(parent)
    made.setInterval(milliseconds)
    made.timeout.connect(action)
    return made
