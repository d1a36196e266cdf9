"""`.ci/audit` with a pip-audit of each outcome."""

from __future__ import annotations

import shutil
import subprocess
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
