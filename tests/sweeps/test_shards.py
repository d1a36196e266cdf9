"""Shards of a prediction: which processes are started, and what becomes of those that end badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf

from fibseg.errors import FibsegError, Terminated
from fibseg.machine import sigterm_is_ctrl_c
from fibseg.sweeps import shards
from fibseg.sweeps.shards import ShardProcesses, launch_shards
from tests.support import Commands

CONFIG = OmegaConf.create(
    {
        "hydra": {
            "job": {"config_name": "predict"},
            "runtime": {
                "config_sources": [
                    {"provider": "hydra", "path": "hydra.conf"},
                    {"provider": "main", "path": "/project/conf"},
                    {"provider": "command-line", "path": "/user/conf"},
                ]
            },
            "overrides": {"hydra": ["hydra.searchpath=[/more]", "hydra/launcher=shards"]},
        }
    }
)


class Processes:
    """In the place of the processes of shards: they end as a test says, in their order."""

    def __init__(self, *ends: tuple[int, list[str]]):
        self.ends = list(ends)
        self.lines: list[list[str]] = []
        self.devices: list[str | None] = []

    def start(self, line: list[str], environment: dict[str, str]) -> None:
        self.lines.append(line)
        self.devices.append(environment.get("CUDA_VISIBLE_DEVICES"))

    def run(self, *_: Any) -> Any:
        return self.ends.pop(0) if self.ends else (0, [])


def replace_processes(monkeypatch: pytest.MonkeyPatch, *ends: tuple[int, list[str]]) -> Processes:
    processes = Processes(*ends)
    monkeypatch.setattr(
        ShardProcesses, "start", lambda _, line, environment: processes.start(line, environment)
    )
    monkeypatch.setattr(shards, "_run_process", processes.run)
    return processes


def test_a_shard_reads_its_configuration_where_the_command_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is started by the name of its module, whatever file this process was started from."""
    processes = replace_processes(monkeypatch)
    monkeypatch.setattr(shards.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(sys, "argv", ["/usr/bin/fibseg predict"])
    (result,) = launch_shards(CONFIG, [["image=a", "shard=0"]], at_once=None, retries=0)
    assert result.status == JobStatus.COMPLETED
    assert processes.lines == [
        [
            *(sys.executable, "-P", "-m", "fibseg.commands.predict"),
            *("--config-name=predict", "--config-path=/project/conf", "--config-dir=/user/conf"),
            *("hydra.searchpath=[/more]", "image=a", "shard=0", "threads=8"),
        ]
    ]


def test_cores_are_shared_and_a_given_number_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = replace_processes(monkeypatch)
    monkeypatch.setattr(shards.os, "sched_getaffinity", lambda _: set(range(8)))
    jobs = [["shard=0"], ["shard=1"], ["shard=2", "threads=1"]]
    launch_shards(CONFIG, jobs, at_once=2, retries=0)
    assert sorted(line[-1] for line in processes.lines) == ["threads=1", "threads=4", "threads=4"]


@pytest.mark.parametrize(("visible", "expected"), [("", {"0", "1"}), ("5,7", {"5", "7"})])
def test_each_shard_sees_one_gpu(
    monkeypatch: pytest.MonkeyPatch, visible: str, expected: set[str]
) -> None:
    processes = replace_processes(monkeypatch)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    launch_shards(CONFIG, [[f"shard={i}"] for i in range(2)], at_once=None, retries=0)
    assert set(processes.devices) <= expected
    monkeypatch.undo()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert {shards._visible_device(gpu) for gpu in range(2)} == expected


def test_a_shard_that_dies_is_started_again_and_one_that_fails_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    processes = replace_processes(monkeypatch, (-9, []), (0, []))
    (result,) = launch_shards(CONFIG, [["shard=0"]], at_once=1, retries=1)
    assert result.status == JobStatus.COMPLETED
    assert len(processes.lines) == 2
    assert capsys.readouterr().out == "shard=0: its process died; it is started again\n"
    for ends, message in (
        ([(-9, []), (-9, [])], "shard=0: killed by a signal"),
        ([(2, ["warning", "error: no such file"])], "shard=0: no such file"),
        ([(1, [])], "shard=0: ended with exit code 1"),
    ):
        processes = replace_processes(monkeypatch, *ends)
        (result,) = launch_shards(CONFIG, [["shard=0"]], at_once=1, retries=1)
        assert len(processes.lines) == len(ends)
        with pytest.raises(FibsegError, match=f"^{message}$"):
            result.return_value  # noqa: B018


def test_shards_end_with_a_launcher_that_is_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those at work are told, too, and those that wait do not start."""
    started = []
    start = ShardProcesses.start
    begun = threading.Event()

    def start_sleep(self: ShardProcesses, _: Any, environment: dict[str, str]) -> Any:
        process = start(self, ["sleep", "600"], environment)
        started.append(process)
        begun.set()
        return process

    def terminate_when_begun() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ShardProcesses, "start", start_sleep)
    killer = threading.Thread(target=terminate_when_begun)
    killer.start()
    with pytest.raises(Terminated), sigterm_is_ctrl_c():
        launch_shards(CONFIG, [[f"shard={k}"] for k in range(4)], at_once=1, retries=3)
    killer.join()
    assert [process.returncode for process in started] == [-signal.SIGTERM]


@pytest.mark.slow
def test_shards_of_the_installed_program(commands: Commands, tmp_path: Path) -> None:
    """The user's folders hold a part of the configuration, and a file named as a library."""
    preset = tmp_path / "own" / "preset" / "gone.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text("# @package _global_\nimage: nowhere.tif\n")
    (tmp_path / "hydra.py").write_text("raise SystemExit('imported from the working directory')")
    arguments = [
        *("-m", f"--config-dir={tmp_path / 'own'}", "+preset=gone", "checkpoint=gone"),
        *("output=labels.tif", "shards=2", "shard=0,1", "hydra.launcher.at_once=2"),
    ]
    result = subprocess.run(
        commands.line("fibseg", "predict", *arguments),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    commands.refused(result, "shard=0: nowhere.tif: no such file")
