"""Names and hashes of runs: what changes them, and what does not."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from fibseg.errors import FibsegError
from fibseg.runs.directory import RunDirectory
from fibseg.runs.identity import (
    changed_keys,
    check_same,
    config_hash,
    fold_facts,
    place_of_run,
    read_config,
    run_name,
    write_config,
)

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
    """The configuration with one value changed; the path is as "data.volumes.0.image"."""
    config = copy.deepcopy(CONFIG)
    *parents, last = path.split(".")
    place = config
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[last] = value
    return config


def test_names_say_what_is_special() -> None:
    digest = config_hash(CONFIG)
    assert re.fullmatch("[0-9a-f]{8}", digest)
    assert run_name(CONFIG, None, CONFIG) == f"unet-off-s3-{digest}"
    assert run_name(CONFIG, "quick", CONFIG) == f"unet-off-quick-s3-{digest}"
    longer = changed("training.epochs", 7)
    assert run_name(longer, None, CONFIG) == f"unet-off-epochs_7-s3-{config_hash(longer)}"
    areas = changed("filter.areas", [650, 3200])
    assert run_name(areas, None, CONFIG) == f"unet-off-areas_650x3200-s3-{config_hash(areas)}"


def test_names_of_runs_are_names_of_files() -> None:
    odd = changed("filter.name", "a/b =~")
    assert re.fullmatch(r"[A-Za-z0-9._-]+", run_name(odd, None, CONFIG))
    wordy = changed("filter.name", "x" * 500)
    assert len(run_name(wordy, None, CONFIG)) < 140


def test_hashes_of_runs_on_disk_stay() -> None:
    """Runs are found by this digest; it must not change."""
    assert config_hash(CONFIG) == "fd2b0b8e"


@pytest.mark.parametrize(
    "path",
    ["seed", "name", "machine.threads", "data.root", "data.volumes.0.image", "data.volumes.0.mask"],
)
def test_what_changes_no_result_changes_no_hash(path: str) -> None:
    assert config_hash(changed(path, "x")) == config_hash(CONFIG)


@pytest.mark.parametrize(
    "path", ["training.epochs", "model.width", "filter.areas", "data.name", "data.volumes.0.offset"]
)
def test_what_changes_a_result_changes_the_hash(path: str) -> None:
    assert config_hash(changed(path, "x")) != config_hash(CONFIG)


def test_a_grey_range_of_the_whole_stack_has_the_hash_of_a_run_without_the_key() -> None:
    older = changed("data.intensity", {"low": 0.1})
    assert config_hash(changed("data.intensity", {"low": 0.1, "per": "stack"})) == config_hash(
        older
    )
    assert config_hash(changed("data.intensity", {"low": 0.1, "per": "slice"})) != config_hash(
        older
    )


def test_a_description_without_a_fold_has_the_hash_of_a_run_without_the_keys() -> None:
    config = copy.deepcopy(CONFIG)
    config["data"] |= {"fold": None, "folds": None, "guard": 1}
    assert config_hash(config) == config_hash(CONFIG)
    hashes = {
        config_hash(CONFIG | {"data": CONFIG["data"] | {"fold": fold, "folds": 3, "guard": 1}})
        for fold in range(3)
    }
    assert len(hashes) == 3 and config_hash(CONFIG) not in hashes


def test_runs_of_all_folds_share_a_hash() -> None:
    def facts_of(**keys: Any) -> dict[str, Any]:
        return fold_facts(CONFIG | {"data": CONFIG["data"] | keys})

    assert facts_of() == facts_of(fold=None, folds=3) == {}
    first, second, other = (
        facts_of(fold=fold, folds=folds) for fold, folds in ((0, 3), (2, 3), (0, 4))
    )
    assert (second["fold"], second["folds"]) == (2, 3)
    assert first["folds_hash"] == second["folds_hash"] != other["folds_hash"]


def test_compiling_changes_no_hash_and_no_name() -> None:
    usual = changed("training.compile", False)
    compiled = changed("training.compile", True)
    assert config_hash(usual) == config_hash(compiled)
    assert run_name(usual, None, usual) == run_name(compiled, None, usual)
    # The key is in the hash of all runs but the first ones.
    assert config_hash(usual) != config_hash(CONFIG)
    assert changed_keys(compiled, usual) == {}


@pytest.mark.parametrize("finds", ["earlier", "both", "neither"])
def test_a_run_that_an_earlier_version_named_after_compile_is_kept(
    tmp_path: Path, finds: str
) -> None:
    usual = changed("training.compile", False)
    compiled = changed("training.compile", True)
    digest = config_hash(compiled, compile_counts=True)
    earlier = tmp_path / f"unet-off-compile_True-s3-{digest}"
    now = tmp_path / run_name(usual, None, usual)
    for path in {"earlier": [earlier], "both": [earlier, now], "neither": []}[finds]:
        path.mkdir()
        (path / "config.yaml").touch()
    expected = earlier if finds == "earlier" else now
    assert place_of_run(tmp_path, compiled, None, usual) == expected
    assert place_of_run(tmp_path, usual, None, usual) == now


def test_folders_of_starting_weights_change_no_hash() -> None:
    digests = {
        config_hash(CONFIG | {"init_from": path})
        for path in ("runs/a-s1-9f", "/elsewhere/a-s1-9f/", "a-s1-9f/checkpoints/model.safetensors")
    }
    assert len(digests) == 1
    assert digests != {config_hash(CONFIG | {"init_from": "runs/a-s2-9f"})}
    digests = {config_hash(changed("model.weights", path)) for path in ("w.pth", "here/w.pth")}
    assert len(digests | {config_hash(changed("model.weights", "v.pth"))}) == 2


def test_a_key_of_one_side_differs_from_none() -> None:
    assert changed_keys(changed("model.dropout", None), CONFIG) == {"model.dropout": None}
    assert changed_keys(CONFIG, changed("model.dropout", None)) == {}


def test_another_configuration_or_other_data_are_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    old = CONFIG | {"provenance": {"data_hash": "a"}}
    check_same(run, old, changed("machine.threads", 4) | {"provenance": {"data_hash": "a"}})
    with pytest.raises(FibsegError, match=r"training.epochs was 100, now 7.*name="):
        check_same(run, old, changed("training.epochs", 7) | {"provenance": {"data_hash": "a"}})
    with pytest.raises(FibsegError, match=r"model.dropout was 0.5, now None"):
        check_same(run, changed("model.dropout", 0.5) | {"provenance": {"data_hash": "a"}}, old)
    with pytest.raises(FibsegError, match=r"data hash a, now b"):
        check_same(run, old, CONFIG | {"provenance": {"data_hash": "b"}})


def test_configurations_are_read_back_and_damage_is_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert read_config(run) is None
    provenance = {
        "config_hash": "c",
        "data_hash": "a",
        "threads": 2,
        "precision": "32",
        "tracking_id": "t",
    }
    config = CONFIG | {"provenance": provenance}
    write_config(run, config)
    assert read_config(run) == config
    for damage in ("", "a: [", "provenance: 3", "provenance: {data_hash: a}", "\x00"):
        run.config.write_text(damage)
        with pytest.raises(FibsegError, match="damaged"):
            read_config(run)


def test_runs_of_the_first_quick_recipe_keep_their_directories(tmp_path: Path) -> None:
    """It was called experiment=quick; the same values are quick_v1 now."""
    place = place_of_run(tmp_path, CONFIG, "quick_v1", CONFIG)
    assert place.name == run_name(CONFIG, "quick_v1", CONFIG)
    earlier = RunDirectory(tmp_path / run_name(CONFIG, "quick", CONFIG))
    earlier.path.mkdir()
    earlier.config.write_text("provenance: {}")
    assert place_of_run(tmp_path, CONFIG, "quick_v1", CONFIG) == earlier.path
    # Another recipe of that name is not taken for it.
    assert place_of_run(tmp_path, CONFIG, "quick", CONFIG) == earlier.path
    assert place_of_run(tmp_path, CONFIG, "best", CONFIG).name == run_name(CONFIG, "best", CONFIG)


def test_an_augmentation_is_part_of_the_name() -> None:
    strong = CONFIG | {"augmentation": {"name": "strong", "share": 0.3, "noise": 0.1}}
    assert run_name(strong, "quick", strong).startswith("unet-off-strong-quick-s3-")
    assert config_hash(strong) != config_hash(CONFIG)
