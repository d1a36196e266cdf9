"""What is compared with what, and what no contrast holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fibseg.comparison.pairings import Pairing, pairings, unpaired
from fibseg.errors import FibsegError
from tests.support.runs import change_scores, dataset_in, make_grid, make_run


def test_pairings_of_a_grid(tmp_path: Path) -> None:
    make_grid(tmp_path, 1)
    dataset = dataset_in(tmp_path)
    assert dataset.pairings == [
        Pairing("filter", ("eunet-off",), ("eunet-on",)),
        Pairing("filter", ("unet-off",), ("unet-on",)),
        Pairing("model", ("eunet-off",), ("unet-off",)),
        Pairing("model", ("eunet-on",), ("unet-on",)),
        Pairing("interaction", ("eunet-off", "unet-on"), ("eunet-on", "unet-off")),
    ]


def test_a_named_pair_is_added_once_and_only_where_it_is_no_contrast_yet(tmp_path: Path) -> None:
    make_grid(tmp_path, 1)
    configurations = dataset_in(tmp_path).configurations
    plain = pairings(configurations, {})
    known = [("unet-on", "unet-off"), ("unet-off", "unet-on")]
    assert pairings(configurations, {}, known) == plain
    pair = ("eunet-on", "unet-off")
    named = pairings(configurations, {}, [pair, pair, pair[::-1]])
    assert named == [*plain, Pairing("pair", ("unet-off",), ("eunet-on",))]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("nothing", "unet-on"), "nothing: no such configuration; the configurations are eunet-"),
        (("unet-on", "unet-on"), "name two configurations that differ"),
    ],
)
def test_pairs_that_cannot_be_compared(pair: tuple[str, str], message: str, tmp_path: Path) -> None:
    make_grid(tmp_path, 1)
    with pytest.raises(FibsegError, match=message):
        pairings(dataset_in(tmp_path).configurations, {}, [pair])


def test_configurations_and_not_names_decide(tmp_path: Path) -> None:
    """Runs of one filter that differ in another key are no filter contrast of each other."""
    provenance = dict.fromkeys(
        ("config_hash", "data_hash", "threads", "precision", "tracking_id"), 0
    )
    for name, epochs, areas in (
        ("unet-off", 3, []),
        ("unet-on-areas_1_x5_", 3, ["1%"]),
        ("unet-on-other", 9, ["1%"]),
    ):
        path = make_run(tmp_path, name, 0, [0.5], [0.5])
        config = {
            "data": {"volumes": []},
            "model": {"width": 1},
            "filter": {"areas": areas},
            "training": {"epochs": epochs},
            "provenance": provenance,
        }
        (path / "config.yaml").write_text(yaml.safe_dump(config))
    pairing = Pairing("filter", ("unet-off",), ("unet-on-areas_1_x5_",))
    assert dataset_in(tmp_path).pairings == [pairing]


def test_names_decide_where_a_configuration_is_damaged(tmp_path: Path) -> None:
    for name in ("unet-off", "unet-on-areas_1_x5_", "unet-on-other"):
        path = make_run(tmp_path, name, 0, [0.5], [0.5])
        (path / "config.yaml").write_text("data: [")
    pairing = Pairing("filter", ("unet-off",), ("unet-on-areas_1_x5_",))
    assert dataset_in(tmp_path).pairings == [pairing]


def test_unpaired_seeds_and_absent_classes_are_named(tmp_path: Path) -> None:
    for seed in range(4):
        make_run(tmp_path / "seeds", "unet-off", seed, [0.5], [0.5])
        make_run(tmp_path / "seeds", "unet-on", seed + 1, [0.5], [0.5])
    dataset = dataset_in(tmp_path / "seeds")
    assert unpaired(dataset.configurations, dataset.pairings) == [
        "unet-on less unet-off: without seeds 0, 4, which one side lacks"
    ]

    def empty(content: dict[str, Any]) -> None:
        for slices in content["splits"].values():
            slices[0]["confusion"] = [[5, 0], [0, 0]]

    path = make_run(tmp_path / "class", "unet-off", 0, [0.5], [0.5], bare=True)
    change_scores(path, empty)
    dataset = dataset_in(tmp_path / "class")
    phrases = unpaired(dataset.configurations, dataset.pairings)
    assert phrases == ["in no test slice, so in no contrast: er"]
    assert dataset.contrasts == []
