"""What `fibseg watch` takes of a machine while runs train.

python -m benchmarks.watch --runs 60 --epochs 100 --seconds 60 --output benchmarks/watch.json

Copies of a kept run stand for the runs; a row is added to the metrics of each of them every ten
seconds, and a window asks for the states every five. Memory is the highest of the server's process,
without the comparison, which is a process of its own that ends.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

KEPT = Path(__file__).parent / "runs" / "vnc"


def make_runs(folder: Path, count: int, epochs: int) -> list[Path]:
    """Unfinished copies of a kept run with so many epochs; gives their metrics."""
    kept = next(path for path in sorted(KEPT.iterdir()) if (path / "metrics.csv").exists())
    head = kept.name.rpartition("-s")[0]
    for seed in range(count):
        path = folder / f"{head}-s{seed}-00000000"
        path.mkdir(parents=True)
        shutil.copy(kept / "config.yaml", path / "config.yaml")
        shutil.copy(kept / "metrics.csv", path / "metrics.csv")
        add_epochs(path / "metrics.csv", epochs)
    return sorted(folder.glob("*/metrics.csv"))


def add_epochs(file: Path, epochs: int) -> None:
    """Repeat the last row until there are so many epochs."""
    lines = file.read_text().splitlines()
    values = lines[-1].partition(",")[2]
    lines += [f"{epoch},{values}" for epoch in range(len(lines) - 1, epochs)]
    file.write_text("\n".join([*lines, ""]))


def processor_seconds(process: int) -> float:
    """Seconds of a processor that a process took, without its children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: int) -> float:
    """Most megabytes that a process held."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Measure, print, and write a JSON file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=100, help="of each run at the start")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = make_runs(Path(folder), options.runs, options.epochs)
        command = [sys.executable, "-m", "fibseg.commands.main", "watch", folder, "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[0]
            urllib.request.urlopen(address + "state.json").read()
            at_start, began = processor_seconds(server.pid), time.monotonic()
            looks = 0
            while time.monotonic() - began < options.seconds:
                time.sleep(5)
                looks += 1
                if looks % 2:
                    for file in files:
                        add_epochs(file, options.epochs + looks // 2 + 1)
                size = len(urllib.request.urlopen(address + "state.json").read())
            seconds = time.monotonic() - began
            result = {
                "runs": options.runs,
                "epochs": options.epochs,
                "seconds": round(seconds, 1),
                "share_of_a_core": round((processor_seconds(server.pid) - at_start) / seconds, 4),
                "megabytes": round(memory(server.pid), 1),
                "kilobytes_of_an_answer": round(size / 1024, 1),
            }
        finally:
            server.terminate()
            server.wait()
    print(json.dumps(result, indent=1))
    if options.output is not None:
        options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
