"""fibseg itself, for about a number of CPU seconds.

python -m benchmarks.peer_programs.own --root DIR --runs DIR --batches N [--precision 32] ...

`experiment=quick` on one thread, with another number of batches an epoch; nothing else is changed.
A run of fibseg has epochs and no time, so that the number is chosen by hand. `cpu_s` is the time of
the whole process: reading, training, the choices on the validation slices, and labelling.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.peer_programs.budget import parse_job

EPOCHS = 7
"""Of experiment=quick."""


def main() -> None:
    """Train a run, and report it."""
    from fibseg.commands.train import main as train

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--batches", type=int, required=True)
    parser.add_argument("--precision", default="auto")
    job = parse_job(parser)
    options = job.options
    sys.argv = [
        "fibseg train",
        "data=vnc",
        f"data.root={options.root}",
        "experiment=quick",
        f"training.batches={options.batches}",
        f"training.precision={options.precision}",
        f"seed={job.seed}",
        "machine.threads=1",
        "machine.processes=1",
        "machine.device=cpu",
        f"machine.runs={options.runs}",
        f"machine.cache={job.work / 'cache'}",
    ]
    if code := train():
        sys.exit(code)
    runs = [path.parent for path in options.runs.glob(f"vnc/unet-*-s{job.seed}-*/scores.json")]
    # The one of this command: its name has a hash.
    run = max(runs, key=lambda path: (path / "scores.json").stat().st_mtime)
    facts = json.loads((run / "scores.json").read_text())["run"]
    job.finish(
        job.report(
            iterations=EPOCHS * options.batches,
            parameters=facts["parameters"],
            run=run.name,
            precision=facts["precision"],
            versions=facts["versions"],
        )
    )


if __name__ == "__main__":
    main()
