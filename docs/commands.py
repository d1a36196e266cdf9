"""Print docs/COMMANDS.md from the programs' own help and the YAML files of conf/.

python docs/commands.py > docs/COMMANDS.md
"""

from __future__ import annotations

import html
import io
import os
import re
import textwrap
from contextlib import redirect_stdout, suppress
from pathlib import Path

from fibseg.commands.main import main

PROJECT = Path(__file__).resolve().parents[1]
CONF = PROJECT / "conf"

HEAD = """\
# Commands

This page is made by `python docs/commands.py > docs/COMMANDS.md`, from the help of `fibseg` and the comments in
`conf/`.

With the environment active (`source .venv/bin/activate`) the programs are `fibseg COMMAND`, `python train.py` and
`python predict.py`. A mistake in data or keys ends each of them with one sentence and exit code 2; Ctrl-C gives 130.
"""

PROGRAMS = """\
## train.py and predict.py

Both read their keys as `key=value`, in any order: `python train.py data=vnc seed=1`. A value with `[`, `{`, `,` or a
blank needs quotes: `'filter.areas=[650,3200]'`. Without quotes a comma is a sweep. An unknown key ends the program with
the keys that there are.

| option | what |
|---|---|
| `--help` | groups, keys and their values as they stand now |
| `--cfg job` | print the configuration and do nothing |
| `--config-dir=DIR` | look for YAML files in DIR too: `--config-dir=DIR data=mycell` reads `DIR/data/mycell.yaml` |
| `-m` | a sweep, with `train.py`; see [Sweeps](SWEEPS.md) |

A group is a file of values: `data=vnc` reads `conf/data/vnc.yaml`.
"""

TABLES = (
    ("### Keys of train.py", "", "train.yaml"),
    ("### filter=on", "filter.", "filter/on.yaml"),
    ("### filter=off", "filter.", "filter/off.yaml"),
    ("### model=unet", "model.", "model/unet.yaml"),
    ("#### In the paper's size", "model.", "model_size/unet_paper.yaml"),
    ("#### In the quick size", "model.", "model_size/unet_quick.yaml"),
    ("### model=eunet", "model.", "model/eunet.yaml"),
    ("#### In the paper's size, EfficientUNet", "model.", "model_size/eunet_paper.yaml"),
    ("#### In the quick size, EfficientUNet", "model.", "model_size/eunet_quick.yaml"),
    ("### model=forest", "model.", "model/forest.yaml"),
    ("### model=ilastik", "model.", "model/ilastik.yaml"),
    ("### experiment=quick", "", "experiment/quick.yaml"),
    ("### experiment=demo", "", "experiment/demo.yaml"),
    ("### experiment=paper", "", "experiment/paper.yaml"),
    ("### size=paper", "", "size/paper.yaml"),
    ("### size=quick", "", "size/quick.yaml"),
    ("### hydra/launcher=ray", "hydra.launcher.", "hydra/launcher/ray.yaml"),
    ("### hydra/launcher=slurm", "hydra.launcher.", "hydra/launcher/slurm.yaml"),
    ("### Keys of predict.py", "", "predict.yaml"),
    ("### hydra/launcher=shards", "hydra.launcher.", "hydra/launcher/shards.yaml"),
)
"""Heading, what stands before each key on the command line, file in conf/."""


def program_help(*arguments: str) -> str:
    """What `fibseg ARGUMENTS --help` prints, in lines of 100 letters and without colours."""
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        main([*arguments, "--help"])
    return printed.getvalue().rstrip()


def command_names() -> list[tuple[str, ...]]:
    """Commands in the order of `fibseg --help`, each followed by its own kinds: ("figure",), ("figure", "slices")."""
    found: list[tuple[str, ...]] = []
    for name in re.findall(r"^    ([a-z]+) ", program_help(), re.MULTILINE):
        kinds = (
            re.findall(r"^    ([a-z]+) ", program_help(name), re.MULTILINE)
            if "KIND" in program_help(name)
            else []
        )
        found += [(name,), *((name, kind) for kind in kinds)]
    return found


def head_comment(text: str) -> str:
    """Sentences above the first key of a YAML file."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].strip())
    return " ".join(line for line in lines if not line.startswith("@package"))


def keys(text: str) -> list[tuple[str, str, str]]:
    r"""Dotted key, value and comment of every line that holds a value; `defaults` and `hydra` are left out.

    >>> keys("a:\n  b: 1    # of c\nd: null")
    [('a.b', '1', 'of c'), ('d', 'null', '')]
    """
    found, parents = [], dict[int, str]()
    for line in text.splitlines():
        match = re.match(r"( *)([A-Za-z_]+):(?: +(.*))?$", line)
        if match is None:
            continue
        depth, name = len(match[1]), match[2]
        parents = {level: parent for level, parent in parents.items() if level < depth} | {
            depth: name
        }
        if parents[0] in ("defaults", "hydra", "_target_"):
            continue
        value, _, comment = f" {match[3] or ''}".partition(" #")
        if value.strip() or (comment and depth == 0):
            found.append((".".join(parents.values()), value.strip(), comment.strip()))
    return found


def table(prefix: str, text: str) -> str:
    """Keys of a YAML file as a table."""
    lines = ["| key | value | what |", "|---|---|---|"]
    for key, value, comment in keys(text):
        shown = "must be given" if value == "???" else f"`{value}`" if value else ""
        lines.append(f"| `{prefix}{key}` | {shown} | {html.escape(comment, quote=False)} |")
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    parts = [HEAD, f"## fibseg\n\n```text\n{program_help()}\n```\n"]
    parts += [
        f"## fibseg {' '.join(name)}\n\n```text\n{program_help(*name)}\n```\n"
        for name in command_names()
    ]
    parts.append(PROGRAMS)
    for heading, prefix, name in TABLES:
        text = (CONF / name).read_text(encoding="utf-8")
        told = " ".join(part for part in (f"`conf/{name}`.", head_comment(text)) if part)
        parts.append(
            f"{heading}\n\n{textwrap.fill(told, 120, break_long_words=False)}\n\n{table(prefix, text)}\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
