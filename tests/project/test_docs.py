"""The pages of docs/ against the programs: commands, keys, links, and that the site builds."""

from __future__ import annotations

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
SPOKEN = [page for page in PAGES if page.name != "MISTAKES.md"]  # its commands are wrong on purpose
BY_HYDRA = {"hydra/sweeper", "hydra.sweeper"}  # keys of its plugins stand in no file here


def name_of(page: Path) -> str:
    return page.name


def code(text: str) -> Iterator[str]:
    """Lines of code: fenced, indented, and between backticks; a line that ends in a backslash goes on in the next."""
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
    """Arguments of a program wherever code calls it, up to a comment."""
    for line in code(text):
        for match in re.finditer(rf"(?:^|[ /]){re.escape(program)} +([^#|;]+)", line):
            yield match[1].split()


def fields_of(schema: Any) -> dict[str, Any]:
    return get_type_hints(schema)


def is_key(key: str, schema: Any) -> bool:
    """Whether a dotted key leads through a schema; below a list or mapping anything may stand."""
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


def wrong_override(argument: str, schema: Any, own_data: bool) -> str:
    """What is wrong with key=value; empty where nothing is."""
    key, _, value = argument.strip("'\"").partition("=")
    key = key.lstrip("+")
    if any(key.startswith(one) for one in BY_HYDRA):
        return ""
    if key.startswith("hydra.launcher."):
        return (
            ""
            if is_launcher_key(key.removeprefix("hydra.launcher."))
            else f"{key}: no key of a launcher"
        )
    if schema is TrainConfig and (CONF / key).is_dir():
        choices = {path.stem for path in (CONF / key).glob("*.yaml")} | (
            {"basic"} if key == "hydra/launcher" else set()
        )
        found = set(re.findall(r"[\w-]+", value))
        unknown = set() if key == "data" and (own_data or found == {"mycell"}) else found - choices
        return (
            f"{key}={value}: {unknown} is none of {choices}" if unknown and value != "NAME" else ""
        )
    return "" if is_key(key, schema) else f"{key}: no such key"


def help_of(command: str, capsys: pytest.CaptureFixture[str], *kind: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([command, *kind, "--help"])
    assert ended.value.code == 0, f"fibseg {command}: no such command"
    return capsys.readouterr().out


def slug(heading: str) -> str:
    """Anchor of a heading, as MkDocs and GitHub make it of plain words."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def test_page_of_commands_is_what_the_programs_say() -> None:
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
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name}: {target}"


@pytest.mark.parametrize("page", SPOKEN, ids=name_of)
def test_commands_of_fibseg_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, *arguments in calls(page.read_text(encoding="utf-8"), "fibseg"):
        # A placeholder, as COMMAND, or a program whose keys are tested below.
        if not re.fullmatch(r"[a-z]+", command) or command in ("train", "predict"):
            continue
        text = help_of(
            command,
            capsys,
            *(one for one in arguments[:1] if command == "figure" and one.isalpha()),
        )
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
@pytest.mark.parametrize("page", SPOKEN, ids=name_of)
def test_keys_of_the_programs_exist(page: Path, program: str, schema: type) -> None:
    for arguments in calls(page.read_text(encoding="utf-8"), program):
        own_data = any(one.startswith("--config-dir") for one in arguments)
        overrides = [one for one in arguments if re.match(r"['\"]?\+?[\w./]+=", one)]
        wrong = [told for one in overrides if (told := wrong_override(one, schema, own_data))]
        assert not wrong, f"{page.name}: {program} {' '.join(arguments)}: {wrong}"


@pytest.mark.parametrize("page", SPOKEN, ids=name_of)
def test_keys_in_the_text_exist(page: Path) -> None:
    """Spans such as `training.precision=32`, which name no program."""
    for span in code(page.read_text(encoding="utf-8")):
        if re.fullmatch(r"'?[a-z_]+(?:\.[a-z_]+)+=\S+", span):
            told = [
                wrong_override(span, schema, own_data=False)
                for schema in (TrainConfig, PredictConfig)
            ]
            assert "" in told, f"{page.name}: {span}: {told}"


def test_the_checks_find_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    spoken, shown = (
        "`python train.py data=vnc trainin.epochs=3`",
        "    train.py -m \\\n        filter=of 'seed=range(2)'  # a=b",
    )
    text = f"Say {spoken}.\n\n{shown}\n"
    first, second = sorted(calls(text, "train.py"))
    assert (first, second) == (
        ["-m", "filter=of", "'seed=range(2)'"],
        ["data=vnc", "trainin.epochs=3"],
    )
    assert not wrong_override("data=vnc", TrainConfig, own_data=False)
    assert not wrong_override("'filter.areas=[650]'", TrainConfig, own_data=False)
    assert not wrong_override("hydra.launcher.retries=1", TrainConfig, own_data=False)
    for one in (
        "trainin.epochs=3",
        "filter=of",
        "model.widht=2",
        "hydra.launcher.retry=1",
        "data=cell",
    ):
        assert wrong_override(one, TrainConfig, own_data=False), one
    assert wrong_override("seed=1", PredictConfig, own_data=False)
    with pytest.raises(SystemExit):
        main(["scores", "--help"])
    capsys.readouterr()


def test_the_finding_in_readme_is_what_compare_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every sentence on these test slices, from the runs that are kept."""
    folders = [str(PROJECT / "benchmarks" / "runs" / name) for name in ("vnc", "epfl")]
    assert main(["compare", *folders, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    readme = " ".join((PROJECT / "README.md").read_text(encoding="utf-8").split())
    told = re.findall(r"On these \d+ test slices of this stack, .*?annotators\.", readme)
    assert len(told) == 5
    assert [one for one in told if one not in printed] == []


def test_figures_of_the_comparison_page_are_those_of_the_benchmarks() -> None:
    text = " ".join((DOCS / "COMPARING.md").read_text(encoding="utf-8").split())
    seeds = json.loads((PROJECT / "benchmarks" / "seeds.json").read_text())["scores"]
    for name, row in seeds.items():
        cells = " | ".join(f"{one['covered']:.1%} / {one['rejected']:.1%}" for one in row.values())
        assert f"| {name} | {cells} |" in text
    found = json.loads((PROJECT / "benchmarks" / "comparison.json").read_text())
    assert (
        f"{found['what']} are compared in {found['compare_s']} s with {found['memory_mb']} MB"
        in text
    )
    assert f"page has {found['page_mb']} MB and opens in {found['page_opens_s']} s" in text
