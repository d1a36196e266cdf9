"""Contrasts by test volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scipy import stats

from fibseg.comparison.contrast_tables import contrast_sentences
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.levels.volumes import volume_table
from tests.support.runs import change_scores, dataset_in, make_run


def volumes_of_two_slices(folder: Path, count: int) -> Dataset:
    """Differences of .01, .02, ... in so many volumes of two slices each."""

    def spread_over_volumes(content: dict[str, Any]) -> None:
        for k, entry in enumerate(content["splits"]["test"]):
            entry["volume"], entry["slice"] = divmod(k, 2)

    for name, gain in (("unet-off", 0.0), ("unet-on", 0.01)):
        for seed in range(2):
            scores = [0.5 + gain * (k // 2 + 1) for k in range(2 * count)]
            change_scores(make_run(folder, name, seed, [0.5], scores), spread_over_volumes)
    return dataset_in(folder)


def test_from_six_volumes_on_there_is_an_interval(tmp_path: Path) -> None:
    table = volume_table(volumes_of_two_slices(tmp_path, 6))
    assert table is not None
    differences = [0.01 * (k + 1) for k in range(6)]
    low, high = stats.ttest_1samp(differences, 0).confidence_interval()
    cells = [f"{difference:+.3f}" for difference in differences]
    assert table.rows[0][3:] == [*cells, f"{low:+.3f}", f"{high:+.3f}"]


def test_fewer_volumes_are_listed(tmp_path: Path) -> None:
    dataset = volumes_of_two_slices(tmp_path, 2)
    table = volume_table(dataset)
    assert table is not None and table.rows[0][3:] == ["+0.010", "+0.020", "-", "-"]
    assert "of these 2 volumes" in contrast_sentences(dataset)[0]
    one_configuration = Dataset(dataset.configurations["unet-on"])
    assert volume_table(one_configuration) is None
