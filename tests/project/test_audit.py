"""`.ci/audit` with a pip-audit of each outcome."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import PROJECT

REPORT = 'echo "| a | 1.0 | CVE-1 |" > "${@: -1}"'
REFUSED = "requests.exceptions.ConnectionError: Failed to resolve"
OUTCOMES = {
    "clean": ("echo 'No known vulnerabilities found' >&2", 0, "No known vulnerabilities found"),
    "vulnerable": (f"{REPORT}; echo 'Found 1 known vulnerability' >&2; exit 1", 1, "CVE-1"),
    "unreachable": (f"echo '{REFUSED}' >&2; exit 1", 0, "skipped, since its database"),
    "no lock": ("echo 'invalid requirement' >&2; exit 1", 1, "invalid requirement"),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_audit_ends_as_its_outcome_says(name: str, tmp_path: Path) -> None:
    script, code, text = OUTCOMES[name]
    (tmp_path / ".ci").mkdir()
    shutil.copy(PROJECT / ".ci" / "audit", tmp_path / ".ci" / "audit")
    tools = tmp_path / ".tools" / "bin"
    tools.mkdir(parents=True)
    (tools / "pip-audit").write_text(f"#!/usr/bin/env bash\n{script}\n")
    (tools / "pip-audit").chmod(0o755)
    result = subprocess.run(
        [tmp_path / ".ci" / "audit"], capture_output=True, text=True, check=False
    )
    assert result.returncode == code, result.stdout + result.stderr
    assert text in result.stdout
    assert name != "unreachable" or REFUSED in result.stdout


def make_audit(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    """`make audit` beside locks of a version of Python, whose tools are not installed."""
    shutil.copytree(PROJECT / ".ci", folder / ".ci")
    shutil.copy(PROJECT / "Makefile", folder)
    machine = f"CPython {version}, {sys.platform}, {platform.machine()}"
    lock = folder / ".ci" / "tools.lock"
    lock.write_text(f"# Files that CI installs on {machine}.\n")
    # Instead of the download of the tools.
    pip = folder / "python"
    pip.write_text(f'#!/bin/sh\n[ "$1" = -m ] && exit 7\nexec {sys.executable} "$@"\n')
    pip.chmod(0o755)
    return subprocess.run(
        ["make", "audit", f"PYTHON={pip}"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_an_audit_of_the_locks_of_another_python_is_skipped(tmp_path: Path) -> None:
    result = make_audit(tmp_path, "3.9")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "tools.lock is of CPython 3.9, " in result.stderr
    assert "audit: skipped" in result.stdout
    assert not (tmp_path / ".tools").exists()


def test_an_audit_whose_tools_cannot_be_installed_fails(tmp_path: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    result = make_audit(tmp_path, version)
    assert result.returncode != 0
    assert "skipped" not in result.stdout
