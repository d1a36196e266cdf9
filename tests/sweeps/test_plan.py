"""What is checked before a sweep starts its first run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fibseg.errors import FibsegError
from fibseg.models.kinds import model_kind
from fibseg.runs.directory import RunDirectory
from fibseg.sweeps import plan
from fibseg.sweeps.plan import check_disk, seed_by_seed
from tests.support import Commands


@pytest.mark.slow(seconds=8)
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["training.learning_rate=-1"], "training.learning_rate: -1.0 is impossible"),
        (["filter=on", "filter.areas=[1%],[a%]"], "filter.areas: a% is impossible"),
        (["patches.size=8"], "patches.size: 8 is too small for unet"),
        (["data.root=/nowhere"], "/nowhere"),
        (["hydra.launcher.runs_per_gpu=0"], "hydra.launcher.runs_per_gpu: 0 is impossible"),
        (["hydra.launcher.retries=-1"], "hydra.launcher.retries: -1 is impossible"),
        (["hydra.launcher.retries=null"], "hydra.launcher.retries: None is impossible"),
        (["hydra.launcher.runs_per_gup=2"], "runs_per_gup"),
        (["hydra.launcher.address=127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1"),
        (["hydra/launcher=slurm"], "srun"),
        (["hydra/launcher=slurm", "hydra.launcher.array_parallelism=0"], "0 is impossible"),
    ],
)
def test_mistakes_end_a_sweep_before_it_begins(
    commands: Commands, overrides: list[str], expected: str
) -> None:
    # One run, since each is composed anew before a mistake of any shows.
    result = commands.run("train.py", "-m", *commands.recipe, "seed=0", *overrides)
    commands.refused(result, expected)
    assert not list(commands.folder.glob("runs/tiny/*/config.yaml"))


def test_every_configuration_has_a_seed_before_any_has_the_next_one() -> None:
    runs: Any = [
        SimpleNamespace(name=f"{name}{seed}", config=SimpleNamespace(seed=seed))
        for name in ("unet", "eunet")
        for seed in (3, 0, 1)
    ]
    ordered: Any = seed_by_seed(runs)
    names = [run.name for run in ordered]
    assert names == ["unet3", "eunet3", "unet0", "eunet0", "unet1", "eunet1"]


def planned_run(directory: Path, width: int, architecture: str = "unet") -> Any:
    """As much of a planned run as the check of the disk looks at."""
    kind = model_kind(architecture)
    model = SimpleNamespace(
        architecture=architecture,
        width=width,
        dropout=0,
        norm_momentum=0.1,
        norm_eps=1e-3,
        block_order="relu_norm",
        trees=10,
        pixels=1000,
        balance=1.0,
        slices="all",
    )
    config = SimpleNamespace(
        model=model,
        kind=kind,
        channels=SimpleNamespace(count=1),
        data=SimpleNamespace(classes={}),
        patches=SimpleNamespace(size=64),
    )
    return SimpleNamespace(directory=RunDirectory(directory), config=config)


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Bytes that each check asked for."""
    numbers: list[float] = []
    monkeypatch.setattr(plan, "require_disk", lambda *request: numbers.append(request[1]))
    return numbers


def test_the_disk_holds_the_best_weights_of_all_and_the_checkpoints_of_those_at_work(
    tmp_path: Path, requested: list[float]
) -> None:
    """31 million weights of 4 bytes for each of three runs, and ten times that for two of them."""
    runs = [planned_run(tmp_path / str(number), 64) for number in range(3)]
    check_disk(runs, slots=2)
    assert requested == [pytest.approx(31.04e6 * 4 * (3 + 2 * 10), rel=0.01)]


def test_finished_runs_and_those_without_a_model_need_no_room(
    tmp_path: Path, requested: list[float]
) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "scores.json").write_text(json.dumps({}))
    check_disk([planned_run(tmp_path / "0", 64)], slots=2)
    check_disk([planned_run(tmp_path / "1", 64, "ilastik")], slots=2)
    assert requested == [0, 0]


def test_a_forest_needs_room_once(tmp_path: Path, requested: list[float]) -> None:
    """It is written at the end, and has no optimizer."""
    forests = [planned_run(tmp_path / str(number), 64, "forest") for number in range(2)]
    check_disk(forests[:1], slots=4)
    check_disk(forests, slots=4)
    assert requested[1] == 2 * requested[0] > 0


def test_too_small_a_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [planned_run(tmp_path / str(number), 64) for number in range(3)]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    with pytest.raises(FibsegError, match=r"3 runs to train.* needs 2\.86 GB, but 1 GB are free"):
        check_disk(runs, slots=2)
