"""A sweep whose driver or worker is killed, torn or without room at chosen file operations.

It is repeated and compared as in test_attack.py. Nothing of Ray may stay: no process, no folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fibseg import files
from tests.support import Commands
from tests.support.attack import Order, environment_of, install
from tests.support.attacked import chosen, differences
from tests.support.sweeps import Sweeps, processes_with, temporary_sweeps, wait_until

POINTS = int(os.environ.get("FIBSEG_ATTACK_POINTS", "0"))

COMMAND = ("training.epochs=2", "seed=5")

DEEDS = {"train.py": ("kill", "full", "tear"), "default_worker.py": ("kill", "tear", "full")}
"""What is done to the driver and to the worker that comes first to the chosen operation."""

pytestmark = [
    pytest.mark.slow(seconds=25),
    # Two sweeps for each point; tests/sweeps disturbs some at chosen moments in every run.
    pytest.mark.skipif(not POINTS, reason="FIBSEG_ATTACK_POINTS is not set"),
]


@pytest.fixture
def attacked(commands: Commands) -> Iterator[Sweeps]:
    """A sweep whose processes take orders."""
    with temporary_sweeps(commands) as sweeps:
        install(sweeps.temporary)
        yield sweeps


def order(sweeps: Sweeps, program: str, deed: str = "count", number: int = 0) -> Order:
    """An order for the driver or the worker; files of Ray count, too."""
    folders = [str(sweeps.temporary), str(sweeps.commands.folder)]
    name = f"{sweeps.commands.folder}-{program}-{deed}-{number}"
    done = "" if deed == "count" else f"{name}.done"
    return Order(deed, number, folders, f"{name}.report", program, done)


def operations(sweeps: Sweeps, program: str) -> int:
    return len(Path(order(sweeps, program).report).read_text().splitlines())


def test_sweep(attacked: Sweeps, tmp_path: Path) -> None:
    runs = attacked.commands.folder / "runs"
    expected = tmp_path.with_name(f"{tmp_path.name}-expected")
    counts = [order(attacked, program) for program in DEEDS]
    code, errors = attacked.run(*COMMAND, environment=environment_of(*counts))
    assert (code, errors) == (0, "")
    shutil.copytree(runs, expected)
    wrong = []
    for program in DEEDS:
        # The last few of a worker are Ray's own; whether they come depends on how it ends.
        total = operations(attacked, program) - 5
        points = (POINTS + (program == "train.py")) // 2
        for j, number in enumerate(chosen(total, points)):
            deed = DEEDS[program][j % len(DEEDS[program])]
            files.remove(runs)
            where = f"{program}: {deed} at operation {number} of {total}"
            problems = disturb(attacked, order(attacked, program, deed, number))
            problems += differences(runs, expected)
            print(f"  {where}: {problems or 'as undisturbed'}", flush=True)
            wrong += [f"{where}: {problem}" for problem in problems]
    assert wrong == []


def disturb(sweeps: Sweeps, given: Order) -> list[str]:
    """Disturb a sweep and repeat it; gives what was wrong."""
    code, errors = sweeps.run(*COMMAND, environment=environment_of(given))
    problems = []
    lines = errors.splitlines()
    if not Path(given.unless).exists():
        problems.append("it was not disturbed")
    if given.deed == "full" and code != 0:
        print(f"    {errors.strip()}")
        is_sentence = code == 2 and len(lines) == 1 and "the disk is full" in errors
        problems += [] if is_sentence else [f"exit code {code}: {errors}"]
    elif given.program == "default_worker.py" and (code, errors) != (0, ""):
        problems.append(f"exit code {code}: {errors}")
    wait_until(lambda: not processes_with(sweeps.temporary), 30)
    left = [path.name for path in sweeps.temporary.glob("*fibseg-ray*")]
    problems += [f"left behind: {name}" for name in left]
    code, errors = sweeps.run(*COMMAND)
    problems += [] if (code, errors) == (0, "") else [f"repeated, {code}: {errors}"]
    return problems
