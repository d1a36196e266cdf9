"""Every number of a comparison against a computation that shares no code with fibseg."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.recompute import recompute
from fibseg.commands.main import main
from tests.support import PROJECT
from tests.support.runs import make_grid, make_run

KEPT = PROJECT / "benchmarks" / "runs"


@pytest.mark.slow(seconds=12)
def test_kept_runs(tmp_path: Path) -> None:
    folders = [KEPT / "vnc", KEPT / "epfl"]
    assert main(["compare", *map(str, folders), "--output", str(tmp_path)]) == 0
    assert recompute(folders, tmp_path) > 4000
    table = tmp_path / "table1-vnc.csv"
    row = "unet-off-quick,all 7,0.898 ± 0.008"
    text = table.read_text()
    assert row in text
    for wrong in ("unet-off-quick,all 7,0.896 ± 0.008", "unet-off-quick,all 6,0.898 ± 0.008"):
        table.write_text(text.replace(row, wrong))
        with pytest.raises(SystemExit, match="table"):
            recompute(folders, tmp_path)


def test_made_up_runs_with_collapses(tmp_path: Path) -> None:
    make_grid(tmp_path / "runs", 6)
    make_run(tmp_path / "runs", "unet-off", 9, [0.0], [0.1])
    main(["compare", str(tmp_path / "runs"), "--output", str(tmp_path / "out")])
    assert recompute([tmp_path / "runs"], tmp_path / "out") > 200
