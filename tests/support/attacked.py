"""Programs under attack: disturbed, repeated, and compared with one that nothing disturbed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from fibseg import files
from tests.support.attack import DEEDS, Order
from tests.support.commands import Commands
from tests.support.forked import start_command, start_prediction, start_training
from tests.support.trainings import history, same_weights

PROGRAMS: dict[str, Callable[..., BaseProcess]] = {
    "train.py": start_training,
    "predict.py": start_prediction,
    "fibseg": start_command,
}

VARYING = ("scores.json", "metrics.csv", "config.yaml", "model.safetensors", "log.txt", ".lock")
"""Files of a run with times, versions or paths in them; `same_runs` compares what counts."""


@dataclass(frozen=True)
class Target:
    """A program under attack.

    Attributes:
        commands: the folder of the command, which also holds its input.
        program: a key of PROGRAMS.
        line: the arguments of the command; it is the same when it is repeated.
        inputs: names of what lies there before the command.
        expected: a folder with the outputs of a command that nothing disturbed.
    """

    commands: Commands
    program: str
    line: Sequence[str]
    inputs: Sequence[str]
    expected: Path

    @property
    def folder(self) -> Path:
        """Where the command works."""
        return self.commands.folder

    def forget(self) -> None:
        """Remove what the command made, and what it left."""
        for path in self.folder.iterdir():
            if path.name not in self.inputs:
                files.remove(path)

    def repeat(self) -> tuple[int, str]:
        """Run the command undisturbed; gives its exit code and what it printed."""
        result = self.commands.run(self.program, *self.line, cwd=self.folder)
        return result.returncode, result.stdout + result.stderr

    def keep_as_expected(self) -> None:
        """Run the command undisturbed, and keep its outputs for comparison."""
        code, printed = self.repeat()
        assert code == 0, printed
        shutil.copytree(self.folder, self.expected)
        self.forget()

    def disturb(
        self, order: Order, before: Callable[[], None] | None = None
    ) -> tuple[int, list[str]]:
        """Run the command with an order; gives its exit code and the lines that it printed."""
        pipe = self.expected.with_name(f"{self.expected.name}-printed")
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        # A pipe and no file: a limit on files holds for the output, too.
        reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        try:
            process = PROGRAMS[self.program](self.line, pipe, before or order)
            process.join(timeout=300)
            assert process.exitcode is not None, "still at work after five minutes"
            return process.exitcode, _content(reader).splitlines()
        finally:
            os.close(reader)

    def order(self, deed: str, number: int) -> Order:
        """An order for this command."""
        report = self.expected.with_name(f"{self.expected.name}-operations")
        report.unlink(missing_ok=True)
        return Order(deed, number, [str(self.folder)], str(report))

    def operations(self) -> int:
        """How many operations the undisturbed command does."""
        order = self.order("count", 0)
        code, lines = self.disturb(order)
        assert code == 0, lines
        assert not differences(self.folder, self.expected)
        self.forget()
        return len(Path(order.report).read_text().splitlines())


def _content(reader: int) -> str:
    parts = []
    try:
        while part := os.read(reader, 1 << 16):
            parts.append(part)
    # Nothing is left in the pipe.
    except BlockingIOError:
        pass
    return b"".join(parts).decode()


def chosen(total: int, points: int) -> list[int]:
    """Numbers of operations, of each equal share one at random; fewer where there are fewer.

    At random, since programs repeat themselves, and the same of a few operations would be met.
    """
    chance = random.Random(total)
    shares = [(k * total // points, (k + 1) * total // points) for k in range(points)]
    return [chance.randint(first + 1, last) for first, last in shares if first < last]


def attack(target: Target, points: int) -> list[str]:
    """Disturb a program at several operations; gives what was wrong, and prints a report.

    The deeds take turns.
    """
    total = target.operations()
    tally: Counter[str] = Counter()
    wrong = []
    for k, number in enumerate(chosen(total, points)):
        deed = DEEDS[k % len(DEEDS)]
        where = f"{deed} at operation {number} of {total}"
        code, lines = target.disturb(target.order(deed, number))
        problems = [*_wrong_end(deed, code, lines), *_wrong_repeat(target)]
        tally["points"] += 1
        tally["same"] += not problems
        if code == 2:
            print(f"  {where}: {lines[-1]}")
        wrong += [f"{where}: {problem}" for problem in problems]
        target.forget()
    print(
        f"{target.program} {target.line[0]}: {tally['same']} of {tally['points']} points as", end=""
    )
    print(f" undisturbed, of {total} operations")
    return wrong


def _wrong_end(deed: str, code: int, lines: list[str]) -> list[str]:
    """What is wrong with the end of a disturbed program."""
    printed = "\n".join(lines)
    if deed in ("kill", "tear"):
        return [] if code == -signal.SIGKILL else [f"exit code {code}: {printed}"]
    # What can be done without, as a cache, is only warned of.
    if code == 0:
        return []
    sentence = lines[-1] if lines else ""
    reason = "the disk is full" if deed == "full" else "ulimit -f"
    is_sentence = sentence.startswith("error: /") and reason in sentence
    if code == 2 and is_sentence and "Traceback" not in printed:
        return []
    return [f"exit code {code}, no sentence: {printed}"]


def _wrong_repeat(target: Target) -> list[str]:
    """What is wrong with the outputs after the command was repeated."""
    was_whole = not differences(target.folder, target.expected)
    code, printed = target.repeat()
    # It was killed after all was done.
    if code == 2 and was_whole and "exists already" in printed:
        code = 0
    if code != 0:
        return [f"repeated, it ends with {code}: {printed}"]
    return differences(target.folder, target.expected)


def differences(folder: Path, expected: Path) -> list[str]:
    """What distinguishes the files of two folders, times and paths apart."""
    here = _entries(folder)
    there = _entries(expected)
    named = [f"left behind: {name}" for name in sorted(here.keys() - there.keys())]
    named += [f"missing: {name}" for name in sorted(there.keys() - here.keys())]
    for name in sorted(here.keys() & there.keys()):
        paths = (here[name], there[name])
        if paths[0].name == "scores.json":
            named += [] if same_runs(paths[0].parent, paths[1].parent) else [f"other run: {name}"]
        elif paths[0].is_file() and paths[0].name not in VARYING:
            same = paths[0].read_bytes() == paths[1].read_bytes()
            named += [] if same else [f"other bytes: {name}"]
    return named


def same_runs(first: Path, second: Path) -> bool:
    """Whether two finished runs have the same weights, history and scores."""
    scores = [json.loads((run / "scores.json").read_text())["splits"] for run in (first, second)]
    return (
        scores[0] == scores[1] and history(first) == history(second) and same_weights(first, second)
    )


def _entries(folder: Path) -> dict[str, Path]:
    """Files and empty folders below a folder, by name."""
    return {
        str(path.relative_to(folder)): path
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }
