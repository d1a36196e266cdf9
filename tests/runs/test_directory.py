from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from fibseg.data.description import IntensityDescription
from fibseg.data.grey import grey_range, to_8bit
from fibseg.data.slices import load_slices
from fibseg.data.truth import write_truth
from fibseg.errors import FibsegError
from fibseg.files import require_disk, write_whole
from fibseg.runs.components import COMPONENT_COLUMNS
from fibseg.runs.directory import RunDirectory
from fibseg.runs.identity import check_same, config_hash, read_config, run_name, write_config
from fibseg.runs.results import read_scores, write_scores
from fibseg.scores.slices import SplitScore
from fibseg.stack import read_pages, write_pages
from tests.support import SPLIT, describe

CONFIG: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "data": {
        "name": "tiny",
        "root": "here",
        "volumes": [{"image": "a.tif", "labels": {"m": "m.tif"}, "offset": [0, 0, 0]}],
    },
    "filter": {"name": "off", "areas": []},
    "model": {"architecture": "unet", "width": 64},
    "training": {"epochs": 100},
    "machine": {"runs": "runs", "threads": None},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *parents, last = path.split(".")
    place = config
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[last] = value
    return config


def test_names_tell_what_is_special() -> None:
    digest = config_hash(CONFIG)
    assert re.fullmatch("[0-9a-f]{8}", digest)
    assert run_name(CONFIG, None, CONFIG) == f"unet-off-s3-{digest}"
    assert run_name(CONFIG, "quick", CONFIG) == f"unet-off-quick-s3-{digest}"
    longer = changed("training.epochs", 7)
    assert run_name(longer, None, CONFIG) == f"unet-off-epochs_7-s3-{config_hash(longer)}"
    odd = changed("filter.name", "a/b =~")
    assert re.fullmatch(r"[A-Za-z0-9._-]+", run_name(odd, None, CONFIG))
    wordy = changed("filter.name", "x" * 500)
    assert len(run_name(wordy, None, CONFIG)) < 140


@pytest.mark.parametrize(
    "path",
    ["seed", "name", "machine.threads", "data.root", "data.volumes.0.image", "data.volumes.0.mask"],
)
def test_what_is_no_science_changes_no_hash(path: str) -> None:
    assert config_hash(changed(path, "x")) == config_hash(CONFIG)


def test_folders_of_starting_weights_change_no_hash() -> None:
    digests = {
        config_hash(CONFIG | {"init_from": path})
        for path in ("runs/a-s1-9f", "/elsewhere/a-s1-9f/", "a-s1-9f/checkpoints/best.ckpt")
    }
    assert len(digests) == 1
    assert digests != {config_hash(CONFIG | {"init_from": "runs/a-s2-9f"})}
    digests = {config_hash(changed("model.weights", path)) for path in ("w.pth", "here/w.pth")}
    assert len(digests | {config_hash(changed("model.weights", "v.pth"))}) == 2


@pytest.mark.parametrize(
    "path", ["training.epochs", "model.width", "filter.areas", "data.name", "data.volumes.0.offset"]
)
def test_what_is_science_changes_it(path: str) -> None:
    assert config_hash(changed(path, "x")) != config_hash(CONFIG)


def test_another_configuration_or_other_data_are_told(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert read_config(run) is None
    told = {
        "config_hash": "c",
        "data_hash": "a",
        "threads": 2,
        "precision": "32",
        "tracking_id": "t",
    }
    old = CONFIG | {"provenance": told}
    write_config(run, old)
    assert read_config(run) == old
    check_same(run, old, changed("machine.threads", 4) | {"provenance": {"data_hash": "a"}})
    with pytest.raises(FibsegError, match=r"training.epochs was 100, now 7.*name="):
        check_same(run, old, changed("training.epochs", 7) | {"provenance": {"data_hash": "a"}})
    with pytest.raises(FibsegError, match=r"data hash a, now b"):
        check_same(run, old, CONFIG | {"provenance": {"data_hash": "b"}})
    for damage in ("", "a: [", "provenance: 3", "provenance: {data_hash: a}", "\x00"):
        run.config.write_text(damage)
        with pytest.raises(FibsegError, match="damaged"):
            read_config(run)


def test_scores_are_read_back_and_damage_is_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    score = SplitScore([{"volume": 0, "slice": 4, "confusion": [[5, 1], [2, 3]]}], [[]])
    write_scores(
        run, {"seed": 0}, ["background", "a"], {"validation": score, "test": SplitScore([], [])}
    )
    content = read_scores(run)
    assert content["splits"]["validation"] == score.slices
    text = run.scores.read_text()
    for damage, message in (
        (text[:40], "damaged"),
        (text.replace('"schema": 1', '"schema": 2'), "schema 2, but this fibseg reads 1"),
        (text.replace("[[5, 1], [2, 3]]", "[[5]]"), "damaged"),
        ("[]", "damaged"),
    ):
        run.scores.write_text(damage)
        with pytest.raises(FibsegError, match=message):
            read_scores(run)
    run.scores.unlink()
    with pytest.raises(FibsegError, match="not finished"):
        read_scores(run)


def test_truth_is_written_once_page_by_page(phantom_folder: Path, tmp_path: Path) -> None:
    slices = load_slices(describe(phantom_folder))
    write_truth(tmp_path, slices, ["background", "mitochondrion", "membrane", "er"])
    window = grey_range([one.image for one in slices["train"]], IntensityDescription(0.1, 99.9))
    index = json.loads((tmp_path / "truth.json").read_text())
    assert index["splits"]["test"] == [{"volume": 0, "slice": z} for z in SPLIT["test"]]
    assert "train" not in index["splits"]
    for page, one in zip(read_pages(tmp_path / "test-images.tif"), slices["test"], strict=True):
        np.testing.assert_array_equal(page, to_8bit(one.image, window))
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "test-labels.tif"), [one.labels for one in slices["test"]]
    )
    stamp = (tmp_path / "test-images.tif").stat().st_mtime_ns
    write_truth(tmp_path, slices, [])
    assert (tmp_path / "test-images.tif").stat().st_mtime_ns == stamp


def test_lock_keeps_others_out_and_ends_with_its_process(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    holder = (
        "from pathlib import Path; from fibseg.runs import RunDirectory\n"
        f"with RunDirectory(Path({str(run.path)!r})).lock():\n    {code}"
    )
    subprocess.run([sys.executable, "-c", holder], check=False)
    with (
        run.lock(),
        pytest.raises(FibsegError, match="another process is in this run"),
        RunDirectory(run.path).lock(),
    ):
        pass
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(FibsegError, match="cannot be made"),
        RunDirectory(tmp_path / "file" / "run").lock(),
    ):
        pass


def test_disk_is_asked_for(tmp_path: Path) -> None:
    require_disk(tmp_path / "not" / "yet", 1, "a run")
    with pytest.raises(FibsegError, match=r"a run needs 1e\+09 GB, but .* are free"):
        require_disk(tmp_path / "not" / "yet", 1e18, "a run")


def test_text_is_written_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "x.txt", "one")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "a" / "x.txt", "two \ud800")
    assert (tmp_path / "a" / "x.txt").read_text() == "one"


def test_component_columns_are_the_contract() -> None:
    assert (
        ",".join(COMPONENT_COLUMNS) == "split,volume,slice,class,of,area,row,column,overlap,touched"
    )


def test_pages_may_differ_in_size(tmp_path: Path) -> None:
    pages = [np.full(shape, 3, np.uint8) for shape in ((5, 7), (90, 4), (1, 1))]
    write_pages(tmp_path / "labels" / "test.tif", pages)
    back = read_pages(tmp_path / "labels" / "test.tif")
    assert [page.shape for page in back] == [page.shape for page in pages]
