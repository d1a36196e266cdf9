"""Secrets of the environment stay out of what a run writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fibseg.runs.components import components_of
from fibseg.runs.masking import is_secret_name, without_secrets
from tests.support import TINY, Commands

KEY = "0123456789abcdef0123456789abcdef01234567"


def test_which_variables_hold_secrets() -> None:
    secret = ("WANDB_API_KEY", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "db_password", "MY_PASSWD")
    assert all(is_secret_name(name) for name in secret)
    assert not any(is_secret_name(name) for name in ("HOME", "PATH", "SCRATCH", "USER", "LANG"))


def test_values_of_secrets_are_replaced_wherever_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("LONG_TOKEN", f"{KEY}-and-more")
    # Neither a path that exists nor a word that any text may hold is taken for one.
    monkeypatch.setenv("SSH_KEY_FOLDER", str(tmp_path))
    monkeypatch.setenv("USE_TOKENS", "true")
    plain = {"tags": [f"a {KEY}", 3, None, True], KEY: {"root": str(tmp_path), "on": "true"}}
    assert without_secrets(plain) == {
        "tags": ["a (WANDB_API_KEY)", 3, None, True],
        "(WANDB_API_KEY)": {"root": str(tmp_path), "on": "true"},
    }
    assert without_secrets(f"{KEY}-and-more") == "(LONG_TOKEN)"


@pytest.mark.slow(seconds=5)
def test_no_file_holds_a_key_whatever_classes_are_called(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    description = commands.folder / "conf" / "data" / "tiny.yaml"
    names = TINY.replace("  mitochondrion:", "  '[/b]':").replace("  er:", "  '=cmd|x':")
    description.write_text(names)
    # As a shell puts it in, and as OmegaConf would.
    result = commands.train("training.epochs=1", f"tracking.tags=[{KEY}]")
    assert result.returncode == 0, result.stderr
    # Markup of the terminal and a formula, as names of classes.
    assert "[/b]" in result.stdout
    run = commands.run_directory()
    assert components_of(run, "test", "=cmd|x").area.size
    assert b",'=cmd|x," in (run / "components.csv").read_bytes()
    files = [path for path in run.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert "(WANDB_API_KEY)" in (run / "config.yaml").read_text()
    assert "(WANDB_API_KEY)" in (run / "scores.json").read_text()
    typed = "tracking.tags=['${oc.env:WANDB_API_KEY}']"
    sentence = commands.refused(commands.train("seed=1", typed), "WANDB_API_KEY is a secret")
    assert KEY not in sentence
