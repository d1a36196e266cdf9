"""The notebooks run from top to bottom, and hold no output in git."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support import PROJECT

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    # In a folder of its own, beside which the kept runs lie as in the project.
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (tmp_path / "benchmarks").symlink_to(PROJECT / "benchmarks")
    book = nbformat.read(path, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    client = NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    # A training takes every core that it may use; beside other tests its threads would wait for
    # each other.
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        client.execute()
    finally:
        os.sched_setaffinity(0, cores)
    assert all(cell.execution_count for cell in code)
    # The last cell shows something.
    assert code[-1].outputs


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["compare_runs", "quickstart"]
