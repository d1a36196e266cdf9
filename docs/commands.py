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
from typing import NamedTuple

from fibseg.commands.main import COMMANDS, main

PROJECT = Path(__file__).resolve().parents[1]
CONF = PROJECT / "conf"

HEAD = """\
# Commands

`python docs/commands.py > docs/COMMANDS.md` makes this page from the help of `fibseg` and the
comments in `conf/`.

All commands are called as `fibseg COMMAND`, in a clone after `source .venv/bin/activate`. There,
`python train.py` and `python predict.py` are the same programs as `fibseg train` and
`fibseg predict`. A mistake in data or keys ends a command with one sentence and exit code 2; Ctrl-C
gives 130, and SIGTERM 143.
"""

# A backslash joins lines, since a row of a Markdown table is one line.
PROGRAMS = """\
## fibseg train and fibseg predict

Both take keys as `key=value`, in any order: `fibseg train data=vnc seed=1`. A value with `[`, `{`,
`,` or a blank needs quotes: `'filter.areas=[650,3200]'`. With `-m`, a comma outside of brackets
separates the values of a sweep. An unknown key ends the program with a list of the keys that exist.

| option | what |
|---|---|
| `--help` | print groups, keys and their current values |
| `--cfg job` | print the configuration and do nothing |
| `--config-dir=DIR` | also look for YAML files in DIR: \
`--config-dir=DIR data=mycell` reads `DIR/data/mycell.yaml` |
| `-m` | run a [sweep](SWEEPS.md), or a [prediction](PREDICTING.md) by many processes |

A configuration group is a folder of YAML files: `data=vnc` reads `conf/data/vnc.yaml`. The file of
the package wins over one in `conf/data` of the current folder; with `--config-dir=DIR`, the current
folder is not searched.
"""


class KeyTable(NamedTuple):
    """A table of keys on the page.

    Attributes:
        heading: above the table, with its level.
        prefix: of each key on the command line.
        file: in conf/.
    """

    heading: str
    prefix: str
    file: str


TABLES = (
    KeyTable("### Keys of train.py", "", "train.yaml"),
    KeyTable("### filter=on", "filter.", "filter/on.yaml"),
    KeyTable("### filter=off", "filter.", "filter/off.yaml"),
    KeyTable("### loss=dice", "training.", "loss/dice.yaml"),
    KeyTable("### loss=dice_ce", "training.", "loss/dice_ce.yaml"),
    KeyTable("### augmentation=paper", "augmentation.", "augmentation/paper.yaml"),
    KeyTable("### augmentation=standard", "augmentation.", "augmentation/standard.yaml"),
    KeyTable("### augmentation=strong", "augmentation.", "augmentation/strong.yaml"),
    KeyTable("### model=unet", "model.", "model/unet.yaml"),
    KeyTable("#### In the paper's size", "model.", "model_size/unet_paper.yaml"),
    KeyTable("#### In the quick size", "model.", "model_size/unet_quick.yaml"),
    KeyTable("### model=eunet", "model.", "model/eunet.yaml"),
    KeyTable("#### In the paper's size, EfficientUNet", "model.", "model_size/eunet_paper.yaml"),
    KeyTable("#### In the quick size, EfficientUNet", "model.", "model_size/eunet_quick.yaml"),
    KeyTable("### model=encoder_unet", "model.", "model/encoder_unet.yaml"),
    KeyTable(
        "#### In the paper's size, any encoder", "model.", "model_size/encoder_unet_paper.yaml"
    ),
    KeyTable("#### In the quick size, any encoder", "model.", "model_size/encoder_unet_quick.yaml"),
    KeyTable("### model=forest", "model.", "model/forest.yaml"),
    KeyTable("### model=ilastik", "model.", "model/ilastik.yaml"),
    KeyTable("### experiment=quick", "", "experiment/quick.yaml"),
    KeyTable("### experiment=best", "", "experiment/best.yaml"),
    KeyTable("### experiment=quick_v1", "", "experiment/quick_v1.yaml"),
    KeyTable("### experiment=demo", "", "experiment/demo.yaml"),
    KeyTable("### experiment=paper", "", "experiment/paper.yaml"),
    KeyTable("### experiment=finetune", "", "experiment/finetune.yaml"),
    KeyTable("### size=paper", "", "size/paper.yaml"),
    KeyTable("### size=quick", "", "size/quick.yaml"),
    KeyTable("### hydra/launcher=ray", "hydra.launcher.", "hydra/launcher/ray.yaml"),
    KeyTable("### hydra/launcher=slurm", "hydra.launcher.", "hydra/launcher/slurm.yaml"),
    KeyTable("### Keys of predict.py", "", "predict.yaml"),
)


def program_help(*arguments: str) -> str:
    """What `fibseg ARGUMENTS --help` prints, in lines of 100 letters and without colours."""
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        main([*arguments, "--help"])
    return printed.getvalue().rstrip()


def command_names() -> list[list[str]]:
    """Commands in the order of the table, each followed by its kinds, as "figure", "figure slices".

    Programs of Hydra are left out: their keys are in tables of their own.
    """
    names = []
    for name, command in COMMANDS.items():
        if command.is_program:
            continue
        names.append([name])
        text = program_help(name)
        if "KIND" in text:
            kinds = re.findall(r"^    ([a-z]+) ", text, re.MULTILINE)
            names += [[name, kind] for kind in kinds]
    return names


def head_comment(text: str) -> str:
    """Sentences above the first key of a YAML file."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].strip())
    return " ".join(line for line in lines if not line.startswith("@package"))


def keys(text: str) -> list[tuple[str, str, str]]:
    r"""Dotted key, value and comment of every line of YAML that holds a value.

    `defaults` and `hydra` are left out. A comment may go on in the lines below.

    >>> keys("a:\n  b: 1    # of c\n          # and d\nd: null")
    [('a.b', '1', 'of c and d'), ('d', 'null', '')]
    """
    rows = []
    parents: dict[int, str] = {}
    for line in text.splitlines():
        match = re.match(r"( *)([A-Za-z_]+):(?: +(.*))?$", line)
        goes_on = re.match(r" +# (.*)$", line)
        if goes_on and rows and rows[-1][2]:
            rows[-1] = (*rows[-1][:2], f"{rows[-1][2]} {goes_on[1]}")
        if match is None:
            continue
        depth = len(match[1])
        parents = {level: name for level, name in parents.items() if level < depth}
        parents[depth] = match[2]
        if parents[0] in ("defaults", "hydra", "_target_"):
            continue
        value, _, comment = f" {match[3] or ''}".partition(" #")
        if value.strip() or (comment and depth == 0):
            rows.append((".".join(parents.values()), value.strip(), comment.strip()))
    return rows


def markdown_table(prefix: str, text: str) -> str:
    """Keys of a YAML file as a table."""
    lines = ["| key | value | what |", "|---|---|---|"]
    for key, value, comment in keys(text):
        cell = f"`{value}`" if value else ""
        if value == "???":
            cell = "must be given"
        lines.append(f"| `{prefix}{key}` | {cell} | {html.escape(comment, quote=False)} |")
    return "\n".join(lines)


def help_section(*arguments: str) -> str:
    """The help of `fibseg ARGUMENTS` under a heading."""
    heading = " ".join(["## fibseg", *arguments])
    return f"{heading}\n\n```text\n{program_help(*arguments)}\n```\n"


def key_section(table: KeyTable) -> str:
    """A table of keys under its heading, with the comment at the head of its file."""
    text = (CONF / table.file).read_text(encoding="utf-8")
    introduction = f"`conf/{table.file}`. {head_comment(text)}".strip()
    lines = textwrap.fill(introduction, 100, break_long_words=False)
    return f"{table.heading}\n\n{lines}\n\n{markdown_table(table.prefix, text)}\n"


def page() -> str:
    """The whole page."""
    parts = [HEAD, help_section()]
    parts += [help_section(*names) for names in command_names()]
    parts.append(PROGRAMS)
    parts += [key_section(table) for table in TABLES]
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
