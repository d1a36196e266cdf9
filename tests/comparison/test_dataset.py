"""A data set reads each file once, whoever asks."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibseg.commands.main import main
from fibseg.comparison import dataset as dataset_module
from fibseg.comparison.contrast_tables import contrast_table
from fibseg.comparison.dataset import Dataset, datasets_of
from fibseg.comparison.pairings import Questions
from fibseg.comparison.score_tables import table_1
from fibseg.errors import FibsegError
from fibseg.runs.collection import collect
from fibseg.stack import write_pages
from tests.support.runs import (
    add_second_expert,
    dataset_in,
    make_grid,
    make_run,
    write_config,
    write_labels,
)

SHAPE = (16, 24)
_LISTENERS: list[Counter[Path]] = []


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _LISTENERS and isinstance(arguments[0], str | Path):
        for opened in _LISTENERS:
            opened[Path(arguments[0])] += 1


sys.addaudithook(_listen)


@contextmanager
def opened_files() -> Iterator[Counter[Path]]:
    """How often each file is opened inside of the block, by whatever function."""
    opened: Counter[Path] = Counter()
    _LISTENERS.append(opened)
    try:
        yield opened
    finally:
        _LISTENERS.remove(opened)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two configurations of two runs with labels, truth, images and a second expert."""
    truth = [np.zeros(SHAPE, np.uint8) for _ in range(3)]
    for labels in truth:
        labels[4:8] = 1
    for name in ("unet-off", "unet-on"):
        for seed in range(2):
            path = make_run(tmp_path, name, seed, [0.5], [0.5 + seed / 10] * 3)
            write_labels(path, truth, [np.roll(labels, seed, axis=0) for labels in truth])
            write_config(path, [20.0, 5.0, 5.0])
            (path / "metrics.csv").write_text("epoch,val_loss,val_f1\n0,1.0,0.5\n")
    write_pages(tmp_path / "truth" / "d" / "test-images.tif", truth)
    add_second_expert(tmp_path, {1: np.roll(truth[1], 2, axis=0)})
    return tmp_path


@pytest.mark.slow(seconds=4)
def test_compare_opens_each_file_of_a_run_once(sweep: Path, tmp_path: Path) -> None:
    options = ["--strata", "10", "--objects", "--thin", "er", "--tolerance", "10"]
    with opened_files() as opened:
        assert main(["compare", str(sweep), *options, "--output", str(tmp_path / "out")]) == 0
    runs = sorted(path.parent for path in sweep.glob("*/scores.json"))
    assert len(runs) == 4
    for run in runs:
        for name in ("scores.json", "components.csv", "config.yaml", "metrics.csv"):
            assert opened[run / name] == 1
    truth = sweep / "truth" / "d"
    assert opened[truth / "truth.json"] == opened[truth / "second_expert-labels.tif"] == 1


def test_compare_groups_the_runs_of_a_data_set_once(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    for name in ("configurations", "read_expert_labels", "contrasts_of", "pairings"):
        function = getattr(dataset_module, name)

        def counted(*arguments: Any, name: str = name, function: Any = function) -> Any:
            calls[name] += 1
            return function(*arguments)

        monkeypatch.setattr(dataset_module, name, counted)
    assert main(["compare", str(sweep), "--output", str(tmp_path / "out")]) == 0
    assert set(calls.values()) == {1} and len(calls) == 4


def test_configurations_that_are_missing_or_damaged(sweep: Path) -> None:
    dataset = dataset_in(sweep)
    first, second, third, fourth = dataset.runs
    (first.path / "config.yaml").unlink()
    (second.path / "config.yaml").write_text("data: [")
    assert dataset.config(first) is None and dataset.config(second) is None
    assert dataset.volumes(first) is None and dataset.volumes(second) is None
    facts = dataset.volumes(third)
    assert facts is not None
    assert facts.voxel_sizes == [(20.0, 5.0, 5.0)] and facts.trained_slices == [[0, 2, 9]]
    with opened_files() as opened:
        assert dataset.config(third) is dataset.config(third)
        assert dataset.config(fourth) is dataset.config(fourth)
    assert opened[fourth.path / "config.yaml"] == 1 and opened[third.path / "config.yaml"] == 0


def test_volumes_without_voxel_sizes_are_none(sweep: Path) -> None:
    dataset = dataset_in(sweep)
    config = dataset.runs[0].path / "config.yaml"
    config.write_text(config.read_text().replace("voxel_size", "size"))
    assert dataset.config(dataset.runs[0]) is not None
    assert dataset.volumes(dataset.runs[0]) is None


def test_the_truth_lies_beside_any_of_the_runs(sweep: Path, tmp_path: Path) -> None:
    elsewhere = make_run(tmp_path / "elsewhere", "unet-off", 7, [0.5], [0.5] * 3)
    dataset = Dataset(collect([elsewhere, sweep]).runs)
    assert dataset.runs[0].path == elsewhere
    assert dataset.truth_folder == sweep / "truth" / "d"
    alone = dataset_in(tmp_path / "elsewhere")
    assert alone.truth_folder == tmp_path / "elsewhere" / "truth" / "d"
    assert alone.second_expert is None


def test_data_sets_of_a_collection(tmp_path: Path) -> None:
    make_grid(tmp_path / "a", 1)
    make_run(tmp_path / "b", "unet-on", 0, [0.5], [0.9], data="other", data_hash="e")
    (tmp_path / "a" / "unet-off-s3-00000000").mkdir()
    (tmp_path / "a" / "unet-off-s3-00000000" / "config.yaml").write_text("a: 1")
    collection = collect([tmp_path / "a", tmp_path / "b"])
    cell, other = datasets_of(collection, Questions([("unet-on", "eunet-off")]))
    assert (cell.name, other.name) == ("cell", "other")
    assert len(cell.left_out) == 1 and "no scores.json" in cell.left_out[0]
    assert not other.left_out
    assert [contrast.question for contrast in cell.contrasts].count("pair") == 1
    assert other.contrasts == []
    with pytest.raises(FibsegError, match="--pair unet-on golgi: no data set has both; the conf"):
        datasets_of(collection, Questions([("unet-on", "golgi")]))
    with pytest.raises(FibsegError, match="--baseline: no configuration golgi; the conf"):
        datasets_of(collection, Questions(baseline="golgi"))


def test_tables_of_a_data_set(tmp_path: Path) -> None:
    make_grid(tmp_path, 3)
    dataset = dataset_in(tmp_path)
    assert table_1(dataset).rows[0][:2] == ["eunet-off", "best 2 of 3"]
    assert table_1(dataset, paper_style=True).rows != table_1(dataset).rows
    assert len(contrast_table(dataset).rows) == len(dataset.contrasts) == 7
    assert dataset.foreground == ["er"]
