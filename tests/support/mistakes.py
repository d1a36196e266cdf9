"""The page of mistakes in the docs, and data that a mistake was made in.

`FIBSEG_WRITE_DOCS=1 pytest tests/config` writes the rows of the page again.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import tifffile

from tests.support.commands import PROJECT, Commands

PAGE = PROJECT / "docs" / "MISTAKES.md"
WRITES = bool(os.environ.get("FIBSEG_WRITE_DOCS"))
LOCAL = {
    r"(/[^\s:,;'|]*)?/pytest-of-[^/]+/pytest-\d+/(popen-gw\d+/)?[^/\s:,;']+": "DIR",
    re.escape(str(PROJECT)): ".",
    r"but [\d.e+]+ GB are free": "but 100 GB are free",
    r"\d+ GPUs are visible": "0 GPUs are visible",
    r"\S*runs/tiny/\S+?-[0-9a-f]{8}": "RUN",
}
"""What differs from machine to machine and from version to version, and what the page has there."""


TABLE_HEAD = "| mistake | sentence |"
SECTIONS = {
    "file:": "Image and label files",
    "data:": "A data description and its files",
    "description:": "A data description from elsewhere",
    "`train.py": "The command line of a training",
    "`predict.py`": "A prediction",
    "model:": "A model file",
    "`fibseg": "The commands of `fibseg`",
}
"""How the mistakes of a section of the page begin -> its title, in the order of the page."""


def check_row(mistake: str, sentence: str) -> None:
    """The page has the sentence that a command printed after this mistake."""
    for pattern, replacement in LOCAL.items():
        sentence = re.sub(pattern, replacement, sentence)
    sentence = sentence.replace("|", "\\|").replace("<", "&lt;")
    head, rows = _read_page()
    if WRITES:
        _write_page(head, rows | {mistake: sentence})
    else:
        assert rows.get(mistake) == sentence


def check_mistakes(section: str, mistakes: Iterable[str]) -> None:
    """The rows of a section are these mistakes, in this order."""
    head, rows = _read_page()
    in_section = [mistake for mistake in rows if mistake.startswith(section)]
    wanted = list(mistakes)
    if WRITES:
        others = {mistake: rows[mistake] for mistake in rows if mistake not in in_section}
        _write_page(head, others | {mistake: rows[mistake] for mistake in wanted})
    else:
        assert in_section == wanted


def _read_page() -> tuple[str, dict[str, str]]:
    """The page up to its first section, and the sentence of each mistake."""
    page = PAGE.read_text(encoding="utf-8")
    rows = {}
    for line in page.splitlines():
        if line.startswith("| ") and line != TABLE_HEAD:
            mistake, sentence = line.removeprefix("| ").removesuffix(" |").split(" | ", 1)
            rows[mistake] = sentence
    return page.partition("\n## ")[0], rows


def _write_page(head: str, rows: dict[str, str]) -> None:
    """Write the sections in the order of SECTIONS, and in each the rows in their order."""
    parts = [head]
    for start, title in SECTIONS.items():
        table = [
            f"| {mistake} | {sentence} |\n"
            for mistake, sentence in rows.items()
            if mistake.startswith(start)
        ]
        if table:
            parts.append(f"\n## {title}\n\n{TABLE_HEAD}\n|---|---|\n{''.join(table)}")
    PAGE.write_text("".join(parts), encoding="utf-8")


def change_data(commands: Commands, change: Callable[[Path], None]) -> None:
    """Let the commands use a copy of the data, changed by a function of its folder."""
    folder = commands.folder / "data"
    shutil.copytree(commands.data, folder)
    commands.data = folder
    change(folder)


def change_pixels(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """What changes the pixels (Z, H, W) of one file in a folder."""

    def apply(folder: Path) -> None:
        pixels = tifffile.imread(folder / name)
        tifffile.imwrite(folder / name, change(pixels.copy()))

    return apply
