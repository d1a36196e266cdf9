"""`fibseg calibrate` on a finished run: what it prints, what it keeps, and what it leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fibseg import machine
from fibseg.models.trained import load_model
from fibseg.stack import read_notes
from tests.support import Commands, printed_rows


@pytest.fixture
def run(finished: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run; slices are filtered in this process."""
    monkeypatch.setattr(machine, "cores", lambda: 1)
    path = tmp_path / finished.run_directory().name
    shutil.copytree(finished.run_directory(), path)
    return path


def test_offsets_are_kept_in_the_model_and_used(finished: Commands, run: Path) -> None:
    checkpoint = run / "checkpoints" / "model.safetensors"
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    model = checkpoint.read_bytes()
    line = ["fibseg", "calibrate", run, "--device", "cpu"]
    tried = finished.run(*line, "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert checkpoint.read_bytes() == model
    result = finished.run(*line)
    assert result.returncode == 0, result.stderr
    decision = load_model(checkpoint).decision
    assert decision is not None and decision.kind == "validation" and decision.slices == 2
    rows = printed_rows(result.stdout)
    assert rows == printed_rows(tried.stdout)
    for name, offset in zip(("mitochondrion", "membrane", "er"), decision.offsets[1:], strict=True):
        assert float(rows[name][0]) == pytest.approx(offset, abs=0.005)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    output = run.parent / "out.tif"
    image = f"image={finished.data / 'image.tif'}"
    predicted = finished.run(
        "predict.py", f"checkpoint={run}", image, f"output={output}", "device=cpu", "threads=1"
    )
    assert predicted.returncode == 0, predicted.stderr
    notes = read_notes(output)
    names = ["background", "mitochondrion", "membrane", "er"]
    assert notes is not None and notes["decision"] == [decision.described(names)]
    again = finished.run(*line, "--decision", "argmax")
    assert again.returncode == 0, again.stderr
    plain = load_model(checkpoint).decision
    assert plain is not None and plain.is_plain and len(plain.smallest) == 4
    nothing = finished.run(*line, "--decision", "argmax", "--smallest", "none")
    assert nothing.returncode == 0, nothing.stderr
    plain = load_model(checkpoint).decision
    assert plain is not None and not plain.smallest


def test_offsets_of_known_shares(finished: Commands, run: Path) -> None:
    result = finished.run("fibseg", "calibrate", run, "--device", "cpu", "--decision", "prior")
    assert result.returncode == 0, result.stderr
    decision = load_model(run / "checkpoints" / "model.safetensors").decision
    assert decision is not None and decision.kind == "prior"
    # Patches are drawn round organelles, so that these are rarer in slices.
    assert all(offset < 0 for offset in decision.offsets[1:])


def test_mistakes(finished: Commands, run: Path, tmp_path: Path) -> None:
    best = finished.run("fibseg", "calibrate", run, "--decision", "best")
    finished.refused(best, "--decision: best is impossible", "argmax, prior or validation")
    small = finished.run("fibseg", "calibrate", run, "--smallest", "10")
    finished.refused(small, "--smallest: 10 is impossible", "none or validation")
    finished.refused(finished.run("fibseg", "calibrate", tmp_path), "no run directory")
    elsewhere = finished.run("fibseg", "calibrate", run, "--root", tmp_path)
    finished.refused(elsewhere, "image.tif")
