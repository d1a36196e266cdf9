"""F1 over the number of annotated slices: which runs make a curve, and that it is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fibseg.comparison.dataset import few_slices_curves
from fibseg.comparison.volumes import volume_facts
from fibseg.pages.charts import charts_of
from fibseg.pages.few_slices import few_slices_chart
from tests.support.runs import dataset_in, make_run, write_config


def config_of(path: Path, annotated: int | None, **changes: Any) -> None:
    """A config.yaml of three training slices, of which some are used."""
    write_config(path, [20.0, 5.0, 5.0])
    config = yaml.safe_load((path / "config.yaml").read_text())
    config["data"]["annotated"] = annotated
    config |= {"model": {"architecture": path.name.split("-")[0]}, "training": {}, **changes}
    (path / "config.yaml").write_text(yaml.safe_dump(config))


def few_runs(folder: Path) -> None:
    for model, base in (("unet", 0.5), ("encoder_unet", 0.7)):
        for annotated in (1, 2, None):
            part = "" if annotated is None else f"-annotated_{annotated}"
            for seed in range(3):
                f1 = base + 0.1 * (annotated or 3) / 3 + 0.01 * seed
                path = make_run(folder, f"{model}-off-quick{part}", seed, [f1], [f1])
                config_of(path, annotated)


def test_configurations_that_differ_in_the_number_alone_make_a_curve(tmp_path: Path) -> None:
    few_runs(tmp_path)
    # Neither of another recipe, nor without its configuration.
    config_of(make_run(tmp_path, "unet-off-long", 0, [0.9], [0.9]), 2, training={"epochs": 9})
    make_run(tmp_path, "unet-on", 0, [0.9], [0.9])
    dataset = dataset_in(tmp_path)
    curves = few_slices_curves(dataset)
    assert sorted(curves) == ["encoder_unet-off-quick", "unet-off-quick"]
    for curve in curves.values():
        assert list(curve) == [1, 2, 3]
        assert [len(runs) for runs in curve.values()] == [3, 3, 3]
    columns = few_slices_chart(dataset).columns
    means = {
        count: mean
        for curve, count, mean in zip(
            columns["curve"], columns["slices"], columns["mean"], strict=True
        )
        if curve == "unet-off-quick" and mean is not None
    }
    # F1 rises by .1/3 for each slice, and is .01 higher in the middle one of the seeds.
    assert means == pytest.approx({count: 0.51 + count / 30 for count in (1, 2, 3)}, abs=5e-3)
    assert charts_of(dataset)[1].title == "Annotated slices"


def test_one_number_is_no_curve(tmp_path: Path) -> None:
    config_of(make_run(tmp_path, "unet-off", 0, [0.5], [0.5]), 2)
    assert few_slices_chart(dataset_in(tmp_path)).is_empty


def test_training_slices_are_those_that_were_used() -> None:
    volumes = [
        {"voxel_size": [1, 1, 1], "split": {"train": ["0:4:2", 9]}},
        {"voxel_size": [1, 1, 1], "split": {"train": [5, 7]}},
    ]
    used = {}
    for annotated in (None, 1, 2, 3):
        facts = volume_facts({"data": {"volumes": volumes, "annotated": annotated}})
        assert facts is not None
        used[annotated] = facts.trained_slices
    assert used[None] == [[0, 2, 9], [5, 7]]
    # The middle of all five, then those farthest from it.
    assert used[1] == [[9], []]
    assert used[2] == [[0, 9], []]
    assert used[3] == [[0, 9], [7]]
