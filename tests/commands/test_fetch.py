"""`fibseg fetch` as a person types it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.data.public import fetching
from fibseg.data.public.sets import PUBLIC_SETS
from tests.support import Commands
from tests.support.http_files import serving


def test_an_unknown_set_is_one_sentence(commands: Commands) -> None:
    result = commands.run("fibseg", "fetch", "lucci")
    assert result.returncode == 2
    assert result.stderr.strip() == (
        f"error: 'lucci' is no public data set; expected {', '.join(PUBLIC_SETS)}."
    )


def test_without_a_network_it_says_so_in_one_sentence(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = PUBLIC_SETS["lucchi"]
    files = [
        replace(file, url=f"http://nothing.invalid/{number}")
        for number, file in enumerate(record.files)
    ]
    monkeypatch.setitem(fetching.PUBLIC_SETS, "lucchi", replace(record, files=files))
    result = commands.run("fibseg", "fetch", "lucchi", "--to", commands.folder / "public")
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert "is there a network? Without one, get the file elsewhere, put it at" in line
    assert "lucchi.downloads/training.tif" in line


@pytest.mark.slow(seconds=10)
def test_a_fetched_set_is_checked_and_trained_by_its_name(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    for name in ("training", "testing"):
        labels = np.zeros((10, 64, 64), np.uint8)
        labels[:, 10:30, 10:40] = 255
        image = generator.integers(0, 60, labels.shape, np.uint8) + labels // 2
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
        tifffile.imwrite(tmp_path / f"{name}_groundtruth.tif", labels)
    record = PUBLIC_SETS["lucchi"]
    with serving(tmp_path) as server:
        files = [replace(file, url=f"{server.url}/{file.name}") for file in record.files]
        monkeypatch.setitem(fetching.PUBLIC_SETS, "lucchi", replace(record, files=files))
        public = commands.folder / "public"
        result = commands.run("fibseg", "fetch", "lucchi", "--to", public)
    assert result.returncode == 0, result.stderr
    assert f"fibseg train --config-dir={public} data=lucchi" in result.stdout
    result = commands.run("fibseg", "check", public / "data" / "lucchi.yaml", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    recipe = [f"--config-dir={public}", "data=lucchi", *commands.recipe[3:]]
    result = commands.run("train.py", *recipe)
    assert result.returncode == 0, result.stderr
    (run,) = (commands.folder / "runs" / "lucchi").glob("*/scores.json")
    assert '"slice": 9' in run.read_text()
