"""The pages of docs/ agree with the programs: commands, keys, links; and the site builds."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml

from fibseg.commands.main import main
from fibseg.config.schemas import MODEL_SCHEMAS, PredictConfig, TrainConfig
from tests.support import PROJECT

DOCS = PROJECT / "docs"
CONF = PROJECT / "conf"
PAGES = [PROJECT / "README.md", *sorted(DOCS.glob("*.md"))]
# The commands of MISTAKES.md are wrong on purpose.
PAGES_WITH_COMMANDS = [page for page in PAGES if page.name != "MISTAKES.md"]
# Keys of Hydra's plugins stand in no file here.
KEYS_OF_HYDRA = ("hydra/sweeper", "hydra.sweeper")


def name_of(page: Path) -> str:
    return page.name


def code(text: str) -> Iterator[str]:
    """Lines of code: fenced, indented, and between backticks.

    A backslash at the end of a line joins it to the next.
    """
    text = text.replace("\\\n", " ")
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```[^\n]*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for block in fenced:
        yield from block.splitlines()
    yield from re.findall(r"^    (.+)$", rest, re.MULTILINE)
    yield from (
        " ".join(span.split())
        for span in re.findall(r"`([^`]+)`", re.sub(r"^    .+$", "", rest, flags=re.M))
    )


def calls(text: str, program: str) -> Iterator[list[str]]:
    """Arguments of a program at every place where code calls it, without comments."""
    for line in code(text):
        # `import fibseg as fs` is Python, and calls no program.
        for match in re.finditer(rf"(?:^|(?<!import)[ /]){re.escape(program)} +([^#|;]+)", line):
            yield match[1].split()


def fields_of(schema: Any) -> dict[str, Any]:
    return get_type_hints(schema)


def is_key(key: str, schema: Any) -> bool:
    """Whether a dotted key exists in a schema; below a list or mapping every key does."""
    name, _, rest = key.partition(".")
    if name not in fields_of(schema):
        return False
    if not rest:
        return True
    if schema is TrainConfig and name == "model":
        return any(is_key(rest, model) for model in MODEL_SCHEMAS.values())
    kind = fields_of(schema)[name]
    return is_key(rest, kind) if is_dataclass(kind) else True


def is_launcher_key(key: str) -> bool:
    files = sorted((CONF / "hydra" / "launcher").glob("*.yaml"))
    return any(key in yaml.safe_load(path.read_text(encoding="utf-8")) for path in files)


def wrong_override(argument: str, schema: Any, has_config_dir: bool) -> str:
    """What is wrong with key=value; empty if nothing is.

    With a folder of the user's descriptions, every name of data is right.
    """
    key, _, value = argument.strip("'\"").partition("=")
    key = key.lstrip("+")
    if key.startswith(KEYS_OF_HYDRA):
        return ""
    if key.startswith("hydra.launcher."):
        is_known = is_launcher_key(key.removeprefix("hydra.launcher."))
        return "" if is_known else f"{key}: no key of a launcher"
    is_group = schema is TrainConfig or key == "hydra/launcher"
    if is_group and (CONF / key).is_dir():
        if value == "NAME" or (key == "data" and (has_config_dir or value == "mycell")):
            return ""
        return wrong_choice(key, value)
    return "" if is_key(key, schema) else f"{key}: no such key"


def wrong_choice(group: str, value: str) -> str:
    """What is wrong with a value, or a comma-separated list, of a group in conf/."""
    choices = {path.stem for path in (CONF / group).glob("*.yaml")}
    if group == "hydra/launcher":
        choices.add("basic")
    unknown = set(re.findall(r"[\w-]+", value)) - choices
    return f"{group}={value}: {unknown} is none of {choices}" if unknown else ""


def help_of(command: str, capsys: pytest.CaptureFixture[str], *kind: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([command, *kind, "--help"])
    assert ended.value.code == 0, f"fibseg {command}: no such command"
    return capsys.readouterr().out


def slug(heading: str) -> str:
    """Anchor of a heading of plain words, as MkDocs and GitHub make it."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


@pytest.mark.slow(seconds=3)
def test_page_of_commands_is_the_help_of_the_programs() -> None:
    command = [sys.executable, DOCS / "commands.py"]
    printed = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=PROJECT, timeout=60
    ).stdout
    assert printed == (DOCS / "COMMANDS.md").read_text(encoding="utf-8"), (
        "run: python docs/commands.py > docs/COMMANDS.md"
    )


def test_page_of_commands_names_every_command_and_key() -> None:
    text = (DOCS / "COMMANDS.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## fibseg (\w+)$", text, re.MULTILINE)) >= {
        "score",
        "filter",
        "check",
        "new",
        "import",
    }
    keys = set(re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE))
    assert keys >= set(fields_of(PredictConfig))
    for name, kind in fields_of(TrainConfig).items():
        below = fields_of(kind) if is_dataclass(kind) and name != "data" else {}
        assert {f"{name}.{key}" for key in below} <= keys
    assert {f"model.{key}" for model in MODEL_SCHEMAS.values() for key in fields_of(model)} <= keys


@pytest.mark.slow(seconds=3)
def test_site_builds_strictly(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        tmp_path / "site",
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=PROJECT, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert {page.stem for page in DOCS.glob("*.md")} <= {
        page.stem for page in (tmp_path / "site").glob("*.html")
    }
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="((?:https?:)?//[^"]+)"',
            page.read_text("utf-8"),
        )
        assert not loaded, f"{page.name} loads from another host: {loaded}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=name_of)
def test_commands_of_fibseg_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, *arguments in calls(page.read_text(encoding="utf-8"), "fibseg"):
        # A placeholder, as COMMAND, or a program whose keys are tested below.
        if not re.fullmatch(r"[a-z]+", command) or command in ("train", "predict"):
            continue
        kind = [name for name in arguments[:1] if command == "figure" and name.isalpha()]
        text = help_of(command, capsys, *kind)
        for argument in arguments:
            assert not argument.startswith("--") or argument in text, (
                f"{page.name}: fibseg {command} {argument}"
            )


@pytest.mark.parametrize(
    ("program", "schema"),
    [
        ("train.py", TrainConfig),
        ("fibseg train", TrainConfig),
        ("predict.py", PredictConfig),
        ("fibseg predict", PredictConfig),
    ],
)
@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=name_of)
def test_keys_of_the_programs_exist(page: Path, program: str, schema: type) -> None:
    for arguments in calls(page.read_text(encoding="utf-8"), program):
        has_config_dir = any(argument.startswith("--config-dir") for argument in arguments)
        overrides = [text for text in arguments if re.match(r"['\"]?\+?[\w./]+=", text)]
        wrong = list(
            filter(None, (wrong_override(text, schema, has_config_dir) for text in overrides))
        )
        assert not wrong, f"{page.name}: {program} {' '.join(arguments)}: {wrong}"


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=name_of)
def test_keys_in_the_text_exist(page: Path) -> None:
    """Spans such as `training.precision=32`, which name no program."""
    for span in code(page.read_text(encoding="utf-8")):
        if re.fullmatch(r"'?[a-z_]+(?:\.[a-z_]+)+=\S+", span):
            schemas = (TrainConfig, PredictConfig)
            messages = [wrong_override(span, schema, has_config_dir=False) for schema in schemas]
            assert "" in messages, f"{page.name}: {span}: {messages}"


def test_the_checks_find_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    in_a_sentence = "`python train.py data=vnc trainin.epochs=3`"
    indented = "    train.py -m \\\n        filter=of 'seed=range(2)'  # a=b"
    text = f"Run {in_a_sentence}.\n\n{indented}\n"
    first, second = sorted(calls(text, "train.py"))
    assert (first, second) == (
        ["-m", "filter=of", "'seed=range(2)'"],
        ["data=vnc", "trainin.epochs=3"],
    )
    assert not wrong_override("data=vnc", TrainConfig, has_config_dir=False)
    assert not wrong_override("'filter.areas=[650]'", TrainConfig, has_config_dir=False)
    assert not wrong_override("hydra.launcher.retries=1", TrainConfig, has_config_dir=False)
    for override in (
        "trainin.epochs=3",
        "filter=of",
        "model.widht=2",
        "hydra.launcher.retry=1",
        "data=cell",
    ):
        assert wrong_override(override, TrainConfig, has_config_dir=False), override
    assert wrong_override("seed=1", PredictConfig, has_config_dir=False)
    with pytest.raises(SystemExit):
        main(["scores", "--help"])
    capsys.readouterr()


@pytest.mark.slow(seconds=8)
def test_sentences_of_readme_are_those_of_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """README quotes what `fibseg compare` prints over the kept runs."""
    folders = [str(PROJECT / "benchmarks" / "runs" / name) for name in ("vnc", "epfl")]
    assert main(["compare", *folders, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    readme = " ".join((PROJECT / "README.md").read_text(encoding="utf-8").split())
    quoted = re.findall(r"- ((?:filter|model), \w+ against \w+: .*? tests\)\.)", readme)
    assert len(quoted) == 2
    assert [sentence for sentence in quoted if sentence not in printed] == []
    with (tmp_path / "answer-vnc.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        names = ("configuration", "mitochondrion", "membrane", "synapse", "minutes")
        cells = " | ".join(row[name].replace("*", "\\*") for name in names)
        assert f"| {cells} |" in readme


def test_figures_of_watch_are_those_of_its_benchmark() -> None:
    text = " ".join((DOCS / "SWEEPS.md").read_text(encoding="utf-8").split())
    watch = json.loads((PROJECT / "benchmarks" / "watch.json").read_text())
    what = f"With {watch['runs']} runs of {watch['epochs']} epochs"
    assert (
        f"{what} it takes {watch['megabytes']:.0f} MB and {watch['share_of_a_core']:.0%}"
        in text.replace(" %", "%")
    )


def test_figures_of_the_comparison_page_are_those_of_the_benchmarks() -> None:
    text = " ".join((DOCS / "COMPARING.md").read_text(encoding="utf-8").split())
    seeds = json.loads((PROJECT / "benchmarks" / "seeds.json").read_text())
    for name, row in [*seeds["scores"].items(), *seeds["families"].items()]:
        shares = [f"{cell['covered']:.1%} / {cell['rejected']:.1%}" for cell in row.values()]
        cells = " | ".join(shares)
        assert f"| {name} | {cells} |" in text
    slices = json.loads((PROJECT / "benchmarks" / "slices.json").read_text())
    for candidate, cases in slices["covered"].items():
        for correlation in ("0", "0.5", "0.9"):
            shares = [cases[f"{correlation}, {count} slices"].values() for count in (10, 20, 40)]
            cells = " | ".join(f"{min(of):.1%} to {max(of):.1%}" for of in shares)
            assert f"| {candidate} | {correlation} | {cells} |" in text
    figures = json.loads((PROJECT / "benchmarks" / "comparison.json").read_text())
    duration = f"{figures['what']} are compared in {figures['compare_s']} s"
    assert f"{duration} with {figures['memory_mb']} MB" in text
    page = f"page has {figures['page_mb']} MB and opens in {figures['page_opens_s']} s"
    assert page in text
