"""Sweeps through the command: disturbed in every way, they end as the sweep that nobody disturbed, bit for bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobStatus

from fibseg.errors import FibsegError
from fibseg.runs.directory import RunDirectory
from fibseg.sweeps import driver as _sweep
from fibseg.sweeps import job as _job
from tests.support import PROJECT, Commands, hear_the_keyboard
from tests.support.tracking import read_wandb
from tests.support.trainings import history, same_weights

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="two runs at a time need two cores"
)

EPOCHS = 24
SWEEP = (f"training.epochs={EPOCHS}", "seed=5,6", "training.schedule=cosine")

KILLS = """
import os, signal
replace = os.replace
def dies(source, target):
    name = str(target)
    if name.endswith(".ckpt") and os.environ["KILL_IN"] in name:
        with open(os.environ["KILL_COUNT"], "a+") as file:
            file.write("x")
            file.flush()
            if file.tell() in eval(os.environ["KILL_AT"]):
                os.truncate(source, os.path.getsize(source) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = dies
"""


class Sweeps:
    """Sweeps in a folder of their own, with a temporary folder (and so places on the machine) of their own."""

    def __init__(self, commands: Commands, temporary: Path):
        self.commands = commands
        self.temporary = temporary
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *overrides: str, **variables: str) -> subprocess.Popen[str]:
        """Begin in a process group of its own."""
        line = self.commands.line("train.py", "-m", *self.commands.recipe, *overrides)
        environment = (
            os.environ | {"TMPDIR": str(self.temporary), "WANDB_MODE": "offline"} | variables
        )
        with (self.commands.folder / "out.txt").open("a") as out:
            process = subprocess.Popen(
                line,
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
                start_new_session=True,
                preexec_fn=hear_the_keyboard,
            )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Kill what a failed test has left."""
        for driver in self.started:
            if driver.poll() is None:
                driver.kill()
                driver.communicate()
        for log in self.commands.folder.glob("runs/tiny/*/log.txt"):
            for process in processes(log.parent):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def run(self, *overrides: str, **variables: str) -> tuple[int, str]:
        """To the end: exit code and stderr."""
        process = self.start(*overrides, **variables)
        _, errors = process.communicate(timeout=300)
        return process.returncode, errors

    def killing(self, at: range | list[int], where: str = "") -> dict[str, str]:
        """Variables that make processes die in these writes of a checkpoint, counted over all of them."""
        (self.temporary / "site").mkdir()
        (self.temporary / "site" / "sitecustomize.py").write_text(KILLS)
        return {
            "PYTHONPATH": str(self.temporary / "site"),
            "KILL_COUNT": str(self.temporary / "count"),
            "KILL_AT": repr(at),
            "KILL_IN": where,
        }

    @property
    def printed(self) -> str:
        """What all sweeps here have printed."""
        return (self.commands.folder / "out.txt").read_text()

    def directory(self, part: str) -> Path:
        """The only run directory whose name holds this."""
        (found,) = (
            path for path in self.commands.folder.glob("runs/tiny/*-s*-*") if part in path.name
        )
        return found

    def epochs(self, part: str) -> int:
        """Done by the run whose name holds this."""
        found = [
            path
            for path in self.commands.folder.glob("runs/tiny/*/metrics.csv")
            if part in path.parent.name
        ]
        return len(history(found[0].parent)) if found else 0


def processes(run: Path) -> list[int]:
    """That have been in a run of a sweep, in their order."""
    return [
        int(number)
        for number in re.findall(r"^--- .*, process (\d+)", (run / "log.txt").read_text(), re.M)
    ]


def wait_until(holds: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def sweeps(commands: Commands) -> Iterator[Sweeps]:
    temporary = Path(tempfile.mkdtemp(prefix="fs", dir="/tmp"))  # short: Ray's sockets lie below it
    found = Sweeps(commands, temporary)
    yield found
    found.end()
    shutil.rmtree(temporary)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, phantom_folder: Path) -> Iterator[Sweeps]:
    temporary = Path(tempfile.mkdtemp(prefix="fs", dir="/tmp"))
    found = Sweeps(Commands(tmp_path_factory.mktemp("undisturbed"), phantom_folder), temporary)
    assert found.run(*SWEEP) == (0, "")
    yield found
    shutil.rmtree(temporary)


def assert_same_sweep(ours: Sweeps, theirs: Sweeps, *more: str) -> None:
    """Final weights and histories of both runs are equal, and nothing stray is left."""
    for seed in ("-s5-", "-s6-"):
        first = ours.directory(seed)
        second = theirs.directory(seed)
        assert same_weights(first, second)
        assert [row["epoch"] for row in history(first)] == [str(epoch) for epoch in range(EPOCHS)]
        assert history(first) == history(second)
        assert {path.name for path in first.iterdir()} == {
            path.name for path in second.iterdir()
        } | set(more)
        assert [path.name for path in (first / "checkpoints").iterdir()] == ["best.ckpt"]


def assert_one_board(sweeps: Sweeps) -> None:
    """One W&B run of each run, with every epoch."""
    for seed in ("-s5-", "-s6-"):
        told = read_wandb(sweeps.directory(seed))
        assert sorted(step for step, row in told["history"].items() if "val_loss" in row) == list(
            range(EPOCHS)
        )


def test_a_sweep_and_the_same_command_again(undisturbed: Sweeps) -> None:
    assert "2 runs, " in undisturbed.printed
    assert "2 finished" in undisturbed.printed
    runs = [undisturbed.directory(seed) for seed in ("-s5-", "-s6-")]
    assert not same_weights(*runs)
    before = [path.stat().st_mtime_ns for run in runs for path in sorted(run.rglob("*"))]
    started = len(undisturbed.printed)
    assert undisturbed.run(*SWEEP) == (0, "")
    assert "2 skipped" in undisturbed.printed[started:]
    assert "running" not in undisturbed.printed[started:]
    assert [path.stat().st_mtime_ns for run in runs for path in sorted(run.rglob("*"))] == before
    assert all(len(processes(run)) == 1 for run in runs)


@pytest.mark.slow
def test_a_run_killed_five_times(sweeps: Sweeps, undisturbed: Sweeps) -> None:
    driver = sweeps.start(*SWEEP, "hydra.launcher.retries=5", "logger=[wandb]")
    for epoch in (1, 5, 9, 13, 17):
        wait_until(lambda epoch=epoch: sweeps.epochs("-s5-") >= epoch)
        how = (
            signal.SIGTERM if epoch == 9 else signal.SIGKILL
        )  # as some guards of the memory do first
        os.kill(processes(sweeps.directory("-s5-"))[-1], how)
        wait_until(
            lambda epoch=epoch: (
                len(processes(sweeps.directory("-s5-"))) > (1, 5, 9, 13, 17).index(epoch) + 1
            )
        )
    _, errors = driver.communicate(timeout=300)
    assert (driver.returncode, errors) == (0, "")
    assert len(processes(sweeps.directory("-s5-"))) == 6
    assert "1 finished, 1 resumed" in sweeps.printed
    assert_same_sweep(sweeps, undisturbed, "wandb")
    assert_one_board(sweeps)


@pytest.mark.slow
def test_the_driver_killed(sweeps: Sweeps, undisturbed: Sweeps) -> None:
    driver = sweeps.start(*SWEEP, "logger=[wandb]")
    wait_until(lambda: min(sweeps.epochs("-s5-"), sweeps.epochs("-s6-")) >= 2)
    driver.kill()
    driver.communicate()
    workers = [one for seed in ("-s5-", "-s6-") for one in processes(sweeps.directory(seed))]
    wait_until(lambda: not any(map(alive, workers)), 30)
    assert sweeps.run(*SWEEP, "logger=[wandb]") == (0, "")
    assert re.search(r"2 resumed|1 resumed, 1 skipped", sweeps.printed)  # one may just have ended
    assert_same_sweep(sweeps, undisturbed, "wandb")
    assert_one_board(sweeps)


def test_no_run_is_blamed_where_ray_itself_was_stopped() -> None:
    """On this machine every run would die at once, as often as it is tried; on a cluster other nodes go on."""
    from ray.exceptions import LocalRayletDiedError, NodeDiedError, WorkerCrashedError

    from fibseg.sweeps.ray_pool import RayPool

    for local, errors in (
        (True, [LocalRayletDiedError(), NodeDiedError("gone")]),
        (False, [LocalRayletDiedError()]),
    ):
        pool = object.__new__(RayPool)
        pool.local = local
        for error in errors:
            with pytest.raises(FibsegError, match=r"Ray was stopped .*; the same command goes on"):
                pool._check_alive(error)
        pool._check_alive(WorkerCrashedError())
    pool._check_alive(NodeDiedError("gone"))


def test_an_error_before_the_training_is_no_death(tmp_path: Path) -> None:
    """It would come again with every attempt."""
    task = SimpleNamespace(folder=tmp_path / "gone", directory=RunDirectory(tmp_path))
    outcome = _job.run_task(task, nullcontext(""))
    assert outcome.result.status == JobStatus.FAILED
    with pytest.raises(FibsegError, match="gone"):
        outcome.result.return_value  # noqa: B018


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second file system at /dev/shm")
def test_killed_in_checkpoint_writes_with_temporary_files_elsewhere(
    commands: Commands, undisturbed: Sweeps
) -> None:
    temporary = Path(tempfile.mkdtemp(prefix="fs", dir="/dev/shm"))
    try:
        sweeps = Sweeps(commands, temporary)
        assert sweeps.run(*SWEEP, **sweeps.killing([1, 6, 11])) == (0, "")
        assert "its process died" in sweeps.printed
        assert_same_sweep(sweeps, undisturbed)
    finally:
        shutil.rmtree(temporary)


@pytest.mark.slow
def test_two_drivers_at_once_share_the_runs(sweeps: Sweeps, undisturbed: Sweeps) -> None:
    drivers = [sweeps.start(*SWEEP) for _ in range(2)]
    for driver in drivers:
        _, errors = driver.communicate(timeout=300)
        assert (driver.returncode, errors) == (0, "")
    assert_same_sweep(sweeps, undisturbed)
    told = [
        (int(number), state)
        for number, state in re.findall(r"(\d+) (finished|skipped|resumed)", sweeps.printed)
    ]
    assert {state: sum(n for n, s in told if s == state) for _, state in told} == {
        "finished": 2,
        "skipped": 2,
    }
    for seed in ("-s5-", "-s6-"):
        log = (sweeps.directory(seed) / "log.txt").read_text()
        assert len(re.findall(r"^epoch 1/", log, re.M)) == 1


@pytest.mark.slow
def test_interrupted_by_the_keyboard(sweeps: Sweeps, undisturbed: Sweeps) -> None:
    driver = sweeps.start(*SWEEP)
    wait_until(lambda: min(sweeps.epochs("-s5-"), sweeps.epochs("-s6-")) >= 3)
    os.killpg(driver.pid, signal.SIGINT)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert errors == "interrupted; the same command goes on where it stopped.\n"
    workers = [one for seed in ("-s5-", "-s6-") for one in processes(sweeps.directory(seed))]
    wait_until(lambda: not any(map(alive, workers)), 30)
    for seed in ("-s5-", "-s6-"):
        directory = RunDirectory(sweeps.directory(seed))
        assert directory.last.exists() or directory.previous.exists() or directory.scores.exists()
        assert directory.is_free()
    assert sweeps.run(*SWEEP) == (0, "")
    assert re.search(r"2 resumed|1 resumed, 1 skipped", sweeps.printed)
    assert_same_sweep(sweeps, undisturbed)


@pytest.mark.slow
def test_failed_runs_leave_the_others_alone(sweeps: Sweeps) -> None:
    """One dies whenever it writes a checkpoint, two have patches that no slice holds."""
    command = ("seed=0,9", "patches.size=32,4096", "training.epochs=1", "hydra.launcher.retries=1")
    code, errors = sweeps.run(*command, **sweeps.killing(range(100), "-s9-"))
    assert code == 2
    assert errors.startswith("error: 3 of 4 runs failed, see error.txt in their directories; ")
    assert len(errors.splitlines()) == 1
    assert "1 finished, 3 failed" in sweeps.printed
    for run in sweeps.commands.folder.glob("runs/tiny/*-s*-*"):
        content = RunDirectory(run)
        assert content.scores.exists() != content.error.exists()
        if content.error.exists():
            assert ("4096" in run.name) == ("4096" in content.error.read_text())
            assert ("4096" in run.name) != ("its process died 2 times" in content.error.read_text())
    assert sweeps.run(*command)[0] == 2
    assert (
        "1 resumed, 1 skipped, 2 failed" in sweeps.printed
        or "1 finished, 1 skipped, 2 failed" in sweeps.printed
    )


@pytest.mark.slow
def test_each_run_is_given_a_gpu_of_its_own(sweeps: Sweeps) -> None:
    """Ray is told of four GPUs; what each worker sees stands in its log."""
    command = (
        "seed=range(4)",
        "training.epochs=1",
        "hydra.launcher.gpus=4",
        "hydra.launcher.runs_per_gpu=1",
    )
    assert sweeps.run(*command) == (0, "")
    assert "4 runs, 4 at a time (4 GPUs, " in sweeps.printed
    logs = [
        (run / "log.txt").read_text() for run in sweeps.commands.folder.glob("runs/tiny/*-s*-*")
    ]
    assert sorted(re.search(r", GPU (.*), cores", log)[1] for log in logs) == ["0", "1", "2", "3"]
    started = len(sweeps.printed)
    command = (
        "seed=range(4,8)",
        "training.epochs=1",
        "hydra.launcher.gpus=2",
        "hydra.launcher.runs_per_gpu=2",
    )
    assert sweeps.run(*command) == (0, "")
    assert "4 runs, 4 at a time (2 GPUs, " in sweeps.printed[started:]
    logs = [(sweeps.directory(f"-s{seed}-") / "log.txt").read_text() for seed in range(4, 8)]
    assert sorted(re.search(r", GPU (.*), cores", log)[1] for log in logs) == ["0", "0", "1", "1"]


@pytest.mark.slow
def test_lambda_is_swept_and_each_slice_filtered_once(sweeps: Sweeps) -> None:
    """1 % of a patch of 32 x 32 is 10 pixels; eight slices, three areas."""
    command = ("filter=on", "filter.areas=[20],[1%],[20,200]", "training.epochs=1")
    assert sweeps.run(*command) == (0, "")
    assert "3 finished" in sweeps.printed
    for group in ("filter.areas=[20] ", "filter.areas=[1%] ", "filter.areas=[20,200] "):
        assert f"│ {group}" in sweeps.printed
    runs = [path.name for path in sweeps.commands.folder.glob("runs/tiny/*-s0-*")]
    assert {name.split("-areas_")[1].split("-")[0] for name in runs} == {"20", "10", "20x200"}
    assert len(list((sweeps.commands.folder / "cache").glob("*.npy"))) == 8 * 3  # those in a split


@pytest.mark.slow
def test_slurm_jobs_are_queued_again_and_submitted_again(
    sweeps: Sweeps, undisturbed: Sweeps
) -> None:
    """With submitit's local executor, which answers the signal of a time limit as it does under Slurm."""
    local = (
        "hydra/launcher=slurm",
        "hydra.launcher.cluster=local",
        "hydra.launcher.gpus_per_node=0",
    )
    driver = sweeps.start(*SWEEP, *local, "hydra.launcher.cpus_per_task=1")
    wait_until(lambda: sweeps.epochs("-s5-") >= 3)
    os.kill(processes(sweeps.directory("-s5-"))[0], signal.SIGUSR2)
    wait_until(lambda: sweeps.epochs("-s6-") >= 8)
    os.kill(processes(sweeps.directory("-s6-"))[0], signal.SIGKILL)
    _, errors = driver.communicate(timeout=300)
    assert (driver.returncode, errors) == (0, "")
    assert [len(processes(sweeps.directory(seed))) for seed in ("-s5-", "-s6-")] == [2, 2]
    died = [line for line in sweeps.printed.splitlines() if "its process died (" in line]
    assert (
        len(died) == 1 and "-s6-" in died[0] and "(state: " in died[0]
    )  # the other one was queued again
    assert_same_sweep(sweeps, undisturbed)


def test_a_single_run_needs_no_ray(finished: Commands) -> None:
    script = f"""
import runpy, sys
sys.argv = {finished.line("train.py", *finished.recipe, "filter=on", "filter.areas=[20,200]")[1:]}
sys.path.insert(0, {str(PROJECT)!r})
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
assert "hydra_plugins.fibseg_launcher.launchers" in sys.modules
assert not {{"ray", "submitit"}} & set(sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_mistakes_end_a_sweep_before_it_begins(sweeps: Sweeps) -> None:
    for overrides, said in (
        (["seed=0,1", "training.learning_rate=-1"], "training.learning_rate: -1.0 is impossible"),
        (["seed=0,1", "filter=on", "filter.areas=[1%],[a%]"], "filter.areas: a% is impossible"),
        (["seed=0,1", "patches.size=8"], "patches.size: 8 is too small for unet"),
        (
            ["seed=0,1", "hydra.launcher.runs_per_gpu=0"],
            "hydra.launcher.runs_per_gpu: 0 is impossible",
        ),
        (["seed=0,1", "hydra.launcher.runs_per_gup=2"], "runs_per_gup"),
        (["seed=0,1", "hydra.launcher.address=127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1"),
        (["seed=0,1", "hydra/launcher=slurm"], "srun"),
        (["seed=0,1", "data.root=/nowhere"], "/nowhere"),
    ):
        code, errors = sweeps.run(*overrides)
        assert (code, len(errors.splitlines())) == (2, 1), errors
        assert errors.startswith("error: ")
        assert said in errors
    assert not list(sweeps.commands.folder.glob("runs/tiny/*/config.yaml"))


def planned(directory: Path, width: int) -> Any:
    """As much of a planned run as the check of the disk looks at."""
    model = SimpleNamespace(
        architecture="unet", width=width, dropout=0, norm_momentum=0.1, norm_eps=1e-3
    )
    model.block_order = "relu_norm"
    data = SimpleNamespace(classes={})
    patches = SimpleNamespace(size=64)
    typed = SimpleNamespace(
        model=model, data=data, filter=SimpleNamespace(areas=[]), patches=patches
    )
    return SimpleNamespace(task=SimpleNamespace(directory=RunDirectory(directory)), typed=typed)


def test_the_disk_is_asked_for_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """31 million weights of 4 bytes for each of three runs, and ten times that (state, one being written) for two."""
    runs = [planned(tmp_path / str(number), 64) for number in range(3)]
    asked: list[float] = []
    monkeypatch.setattr(_sweep, "require_disk", lambda *asked_for: asked.append(asked_for[1]))
    _sweep.check_disk(runs, slots=2)
    assert asked[0] == pytest.approx(31.04e6 * 4 * (3 + 2 * 10), rel=0.01)
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    with pytest.raises(FibsegError, match=r"3 runs to train.* needs 2\.86 GB, but 1 GB are free"):
        _sweep.check_disk(runs, slots=2)
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "scores.json").write_text(json.dumps({}))
    _sweep.check_disk(runs[:1], slots=2)


HEAD = """
import sys, ray
ray.init(address="local", num_cpus=3, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_ray_cluster_by_its_address(sweeps: Sweeps, undisturbed: Sweeps) -> None:
    """Of one node, started by somebody else, who keeps it."""
    variables = {"TMPDIR": str(sweeps.temporary), "RAY_AUTH_MODE": "disabled"}
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
        start_new_session=True,
    )
    try:
        assert head.stdout is not None
        address = head.stdout.readline().strip()
        code, errors = sweeps.run(*SWEEP, f"hydra.launcher.address={address}", **variables)
        assert (code, errors) == (0, "")
        assert "2 runs, 3 at a time (3 cores, 1 cores a run)" in sweeps.printed
        assert_same_sweep(sweeps, undisturbed)
        raylet = [
            one
            for one in children(head.pid)
            if "raylet" in Path(f"/proc/{one}/cmdline").read_text()
        ]
        assert all(map(alive, raylet)) and head.poll() is None
    finally:
        head.communicate("", timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_ray_itself_killed(sweeps: Sweeps, undisturbed: Sweeps, name: str) -> None:
    driver = sweeps.start(*SWEEP)
    wait_until(lambda: min(sweeps.epochs("-s5-"), sweeps.epochs("-s6-")) >= 2)
    workers = [one for seed in ("-s5-", "-s6-") for one in processes(sweeps.directory(seed))]
    (killed,) = (
        one
        for one in children(driver.pid)
        if name in Path(f"/proc/{one}/cmdline").read_text().split("\0")[0]
    )
    os.kill(killed, signal.SIGKILL)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 2
    assert errors.startswith("error: Ray was stopped")
    assert errors.endswith("; the same command goes on where the sweep stopped.\n")
    assert len(errors.splitlines()) == 1
    wait_until(lambda: not any(map(alive, workers)), 30)
    assert sweeps.run(*SWEEP) == (0, "")
    assert re.search(r"2 resumed|1 resumed, 1 skipped", sweeps.printed)  # one may just have ended
    assert_same_sweep(sweeps, undisturbed)


def children(parent: int) -> list[int]:
    """Processes that this one has started."""
    return [
        int(one)
        for task in Path(f"/proc/{parent}/task").iterdir()
        for one in (task / "children").read_text().split()
    ]
