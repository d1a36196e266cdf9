"""The house rules that no linter knows, over the sources and the tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import cache

import pytest

from tests.support import PROJECT, house
from tests.support.house import Source

Rule = Callable[[list[Source]], list[str]]
OF_SOURCES = [
    house.large_packages,
    house.long_modules,
    house.many_parameters,
    house.undescribed_parameters,
    house.unfinished_summaries,
    house.shared_names,
    house.library_names,
    house.several_assignments,
    house.unnamed_arguments,
    house.vague_names,
]
OF_TESTS = [house.imports_of_tests, house.several_assignments]


@cache
def sources_of(folder: str) -> list[Source]:
    return house.read_sources(PROJECT, folder)


def name_of(rule: Rule) -> str:
    return rule.__name__


def check(rule: Rule, folder: str) -> None:
    report = rule(sources_of(folder))
    if report:
        pytest.fail("\n".join(report), pytrace=False)


@pytest.mark.parametrize("rule", OF_SOURCES, ids=name_of)
def test_sources_keep_the_rule(rule: Rule) -> None:
    check(rule, "src")


@pytest.mark.parametrize("rule", OF_TESTS, ids=name_of)
def test_tests_keep_the_rule(rule: Rule) -> None:
    check(rule, "tests")


NINE = ", ".join("abcdefghi")
BROKEN: dict[Rule, tuple[str, str]] = {
    house.long_modules: ("x = 1\n" * 301, "301 lines"),
    house.many_parameters: (f"class A:\n    def f(self, {NINE}): pass", "A.f: 9 parameters"),
    house.undescribed_parameters: ('def f(a, b, *c, d=1, **e):\n    """F."""', "f: no Args:"),
    house.unfinished_summaries: ('"""M."""\ndef f():\n    """F"""', "without a full stop"),
    house.shared_names: ("ONE: int = 1\n(ONE, TWO) = f()", "ONE is also in"),
    house.imports_of_tests: ("from tests.a.test_b import c", "imports tests.a.test_b.c"),
    house.several_assignments: ("a, b = c, d", "several assignments"),
    house.unnamed_arguments: ("from fibseg.files import f\nf(1, 2, 3, 4, *x)", "f: 5 arguments"),
    house.vague_names: ("[one for one in runs]", "the name one"),
}


@pytest.mark.parametrize("rule", BROKEN, ids=name_of)
def test_a_broken_rule_is_reported(rule: Rule) -> None:
    text, expected = BROKEN[rule]
    (line,) = rule([Source("src/fibseg/module.py", text)])
    assert line.startswith("src/fibseg/module.py:") and expected in line


def test_a_large_package_and_a_module_of_a_taken_name_are_reported() -> None:
    modules = [Source(f"src/fibseg/many/{name}.py", "") for name in range(16)]
    assert house.large_packages(modules) == ["src/fibseg/many: 16 modules, 15 at most"]
    assert not house.large_packages([*modules[1:], Source("src/fibseg/many/__init__.py", "")])
    assert len(house.library_names([Source("src/fibseg/scores/statistics.py", "")])) == 1
    assert house.several_assignments([Source("a.py", "a = 1; b = ';'")]) == [
        "a.py:1: several statements in one line"
    ]


@pytest.mark.parametrize("rule", [*BROKEN, house.large_packages, house.library_names], ids=name_of)
def test_good_code_is_not_reported(rule: Rule) -> None:
    good = (
        '"""M."""\nfrom fibseg.files import f\n\n\ndef g(a, b):\n    """G."""\n    x, y = f(a, b)\n'
    )
    assert rule([Source("src/fibseg/module.py", good)]) == []


def test_no_large_file_is_tracked() -> None:
    """An output of a command that was added by mistake stays in the history for good."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    files = [PROJECT / name for name in listed.stdout.split("\0") if name]
    assert [file.name for file in files if file.is_file() and file.stat().st_size > 2**20] == []
