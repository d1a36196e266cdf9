"""What these tests share: a path of a package, and a machine that reaches no other one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.packages import no_network


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.zip"
