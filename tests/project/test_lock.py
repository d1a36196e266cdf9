"""The files that CI installs are those that the project asks for, each with its hash."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.commands import PROJECT

LINE = re.compile(r"([a-z0-9._-]+)==(\S+) --hash=sha256:[0-9a-f]{64}")


def locked(path: Path) -> dict[str, Version]:
    """Versions by name; every line but the comments at its head is a file with its hash."""
    versions = {}
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match is not None, line
        name = canonicalize_name(match[1])
        assert name not in versions
        versions[name] = Version(match[2])
    return versions


def wanted() -> list[Requirement]:
    """What pyproject.toml asks for with its extra `dev`, on the machine of the lock."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"], *extras["dev"]]
    for extra in Requirement(extras["dev"][0]).extras:
        texts += extras[extra]
    requirements = [Requirement(text) for text in texts if not text.startswith("fibseg[")]
    machine = {"python_version": "3.11", "sys_platform": "linux"}
    return [
        entry for entry in requirements if entry.marker is None or entry.marker.evaluate(machine)
    ]


def test_the_lock_has_what_the_project_asks_for() -> None:
    """After a change of dependencies: `make lock`."""
    versions = locked(PROJECT / "requirements.lock")
    requirements = wanted()
    assert len(requirements) > 50
    lacking = [
        str(entry)
        for entry in requirements
        if (version := versions.get(canonicalize_name(entry.name))) is None
        or version not in entry.specifier
    ]
    assert not lacking
    # Built without isolation, by what is locked.
    assert versions["setuptools"] >= Version("77")


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    versions = locked(PROJECT / "requirements.lock")
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pinned = [line.split("==") for line in lines if not line.startswith("#")]
    assert len(pinned) > 40
    other = [
        name for name, version in pinned if versions[canonicalize_name(name)] != Version(version)
    ]
    assert not other


def test_the_tools_of_a_release_are_locked() -> None:
    versions = locked(PROJECT / ".ci" / "tools.lock")
    for line in (PROJECT / ".ci" / "tools.txt").read_text().splitlines():
        requirement = Requirement(line)
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("name", ["requirements.lock", ".ci/tools.lock", "constraints.txt"])
def test_a_lock_names_no_place(name: str) -> None:
    assert "://" not in (PROJECT / name).read_text()


def test_lines_of_a_report() -> None:
    spec = importlib.util.spec_from_file_location("lock", PROJECT / ".ci" / "lock.py")
    assert spec is not None and spec.loader is not None
    lock = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lock)

    def package(name: str, **info: object) -> dict[str, object]:
        return {"metadata": {"name": name, "version": "1.0"}, "download_info": info}

    report = {
        "install": [
            package("Zarr", archive_info={"hashes": {"sha256": "b" * 64}}),
            package("fibseg", dir_info={"editable": True}),
            package("a-b", archive_info={"hashes": {"sha256": "a" * 64}}),
        ]
    }
    assert lock.lock_lines(report) == [
        f"a-b==1.0 --hash=sha256:{'a' * 64}",
        f"zarr==1.0 --hash=sha256:{'b' * 64}",
    ]
