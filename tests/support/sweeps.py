"""Sweeps as users start them, and trainings that are disturbed at chosen moments."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.commands import Commands, hear_the_keyboard
from tests.support.trainings import history, same_weights

EPOCHS = 6
TRAINING = (f"training.epochs={EPOCHS}", "training.schedule=cosine")
"""The learning rate changes with every epoch, so that a wrong step after a resume shows."""

SWEEP = (*TRAINING, "seed=5,6")

UNPINNED = """
import os
os.sched_setaffinity = lambda *_: None
"""
"""The first run of every sweep would compute on the same core, beside those of other tests."""

DISTURBANCE = (
    UNPINNED
    + '''
"""Disturbs a training when it writes a checkpoint, as orders of the test say.

Each attempt to train a run takes the first order of its seed, (deed, number of the write): "kill"
leaves the new checkpoint half written and kills the process, "hold" writes it and waits until the
test releases it.
"""
import json, os, re, signal, time
from pathlib import Path

folder = Path(os.environ["DISTURBANCE"])
replace = os.replace
writes = 0
order = None

def take_order(checkpoint):
    seed = re.search(r"-s(\\d+)-", checkpoint)[1]
    path = folder / f"orders-{seed}.json"
    orders = json.loads(path.read_text()) if path.exists() else []
    if not orders:
        return ["nothing", 0]
    path.write_text(json.dumps(orders[1:]))
    return orders[0]

def disturbed_replace(source, target):
    global order, writes
    if not str(target).endswith((".ckpt", "model.safetensors")):
        return replace(source, target)
    writes += 1
    if order is None:
        order = take_order(str(target))
    deed = order[0] if order[1] == writes else "nothing"
    if deed == "kill":
        os.truncate(source, os.path.getsize(source) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
    if deed == "hold":
        held = folder / f"held-{os.getpid()}"
        held.touch()
        while held.exists():
            time.sleep(0.02)

os.replace = disturbed_replace
'''
)


class Sweeps:
    """Sweeps in their own folder, with their own slots, which lie in their temporary folder."""

    def __init__(self, commands: Commands, temporary: Path):
        self.commands = commands
        self.temporary = temporary
        (temporary / "sitecustomize.py").write_text(UNPINNED)
        self.drivers: list[subprocess.Popen[str]] = []
        self.held: set[int] = set()

    def start(
        self, *overrides: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a sweep in its own process group; some variables may be given."""
        line = self.commands.line("train.py", "-m", *self.commands.recipe, *overrides)
        search_path = [str(self.temporary), os.environ.get("PYTHONPATH", "")]
        variables = {
            "TMPDIR": str(self.temporary),
            "WANDB_MODE": "offline",
            "DISTURBANCE": str(self.temporary),
            "PYTHONPATH": os.pathsep.join(filter(None, search_path)),
        }
        with (self.commands.folder / "out.txt").open("a") as out:
            driver = subprocess.Popen(
                line,
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | variables | dict(environment or {}),
                start_new_session=True,
                preexec_fn=hear_the_keyboard,
            )
        self.drivers.append(driver)
        return driver

    def run(self, *overrides: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run a sweep to its end; gives its exit code and stderr."""
        driver = self.start(*overrides, environment=environment)
        _, errors = driver.communicate(timeout=300)
        return driver.returncode, errors

    def disturb(self, seed: int, *orders: tuple[str, int]) -> None:
        """Give an order to each attempt of a run that starts from now on; see DISTURBANCE."""
        (self.temporary / "sitecustomize.py").write_text(DISTURBANCE)
        (self.temporary / f"orders-{seed}.json").write_text(json.dumps(orders))

    def wait_until_held(self, seed: int) -> int:
        """Wait until a further attempt of a run is held; gives its process."""

        def is_held() -> bool:
            assert self.drivers[-1].poll() is None, "the sweep has ended"
            attempts = self.attempts(seed)
            return bool(attempts) and self._is_newly_held(attempts[-1])

        wait_until(is_held)
        process = self.attempts(seed)[-1]
        self.held.add(process)
        return process

    def _is_newly_held(self, process: int) -> bool:
        """The marker of a process that was killed while it was held stays."""
        return process not in self.held and self._marker(process).exists()

    def release(self, process: int) -> None:
        """Let a held process continue."""
        self._marker(process).unlink()

    def _marker(self, process: int) -> Path:
        return self.temporary / f"held-{process}"

    def end(self) -> None:
        """Kill what a failed test has left."""
        for driver in self.drivers:
            if driver.poll() is None:
                driver.kill()
                driver.wait()
            assert driver.stderr is not None
            driver.stderr.close()
        for log in self.commands.folder.glob("runs/tiny/*/log.txt"):
            for process in processes_of(log.parent):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    @property
    def printed(self) -> str:
        """What all sweeps in this folder have printed."""
        return (self.commands.folder / "out.txt").read_text()

    def run_directories(self) -> list[Path]:
        return sorted(self.commands.folder.glob("runs/tiny/*-s*-*"))

    def directory(self, seed: int) -> Path:
        """The only run directory of this seed."""
        (directory,) = (path for path in self.run_directories() if f"-s{seed}-" in path.name)
        return directory

    def attempts(self, seed: int) -> list[int]:
        """Processes that have trained the run of this seed, in their order."""
        directories = [path for path in self.run_directories() if f"-s{seed}-" in path.name]
        return processes_of(directories[0]) if directories else []


@contextmanager
def temporary_sweeps(commands: Commands, parent: str = "/tmp") -> Iterator[Sweeps]:
    """Sweeps with a temporary folder whose path is short: Ray's sockets lie below it."""
    temporary = Path(tempfile.mkdtemp(prefix="fs", dir=parent))
    sweeps = Sweeps(commands, temporary)
    try:
        yield sweeps
    finally:
        sweeps.end()
        shutil.rmtree(temporary)


def processes_with(temporary: Path) -> list[int]:
    """Living processes whose temporary folder this is."""
    line = f"TMPDIR={temporary}".encode()
    processes = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        # It may end meanwhile.
        with suppress(OSError):
            if line in environment.read_bytes().split(b"\0"):
                processes.append(int(environment.parent.name))
    return [process for process in processes if is_alive(process)]


def processes_of(run: Path) -> list[int]:
    """Processes of a sweep that have been in a run, in their order."""
    log = run / "log.txt"
    text = log.read_text() if log.exists() else ""
    return [int(number) for number in re.findall(r"^--- .*, process (\d+)", text, re.M)]


def wait_until(holds: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def wait_until_ended(processes: list[int]) -> None:
    """Whatever ended them may take a moment; no process may stay behind."""
    wait_until(lambda: not any(map(is_alive, processes)), 30)


def children_of(parent: int) -> dict[int, str]:
    """Processes that this one has started, with the name of their program."""
    numbers = [
        int(number)
        for task in Path(f"/proc/{parent}/task").iterdir()
        for number in (task / "children").read_text().split()
    ]
    return {
        number: Path(f"/proc/{number}/cmdline").read_text().split("\0")[0] for number in numbers
    }


def assert_same_run(disturbed: Path, undisturbed: Path, *more: str) -> None:
    """Weights and history are equal, bit for bit, and nothing is left but `more`."""
    assert same_weights(disturbed, undisturbed)
    assert history(disturbed) == history(undisturbed)
    assert [row["epoch"] for row in history(disturbed)] == [str(epoch) for epoch in range(EPOCHS)]
    expected = {path.name for path in undisturbed.iterdir()} | {"log.txt", *more}
    assert {path.name for path in disturbed.iterdir()} == expected
    assert [path.name for path in (disturbed / "checkpoints").iterdir()] == ["model.safetensors"]
