"""What is compared with what, and what no contrast holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fibseg.comparison.pairings import Pairing, Questions, pairings, unpaired
from fibseg.errors import FibsegError
from tests.support.runs import change_scores, dataset_in, make_grid, make_run


def test_pairings_of_a_grid(tmp_path: Path) -> None:
    make_grid(tmp_path, 1)
    dataset = dataset_in(tmp_path)
    filters = [
        Pairing("filter", ("eunet-off", "unet-off"), ("eunet-on", "unet-on")),
        Pairing("filter", ("eunet-off",), ("eunet-on",)),
        Pairing("filter", ("unet-off",), ("unet-on",)),
    ]
    others = [
        Pairing("model", ("eunet-off", "eunet-on"), ("unet-off", "unet-on")),
        Pairing("model", ("eunet-off",), ("unet-off",)),
        Pairing("model", ("eunet-on",), ("unet-on",)),
        Pairing("interaction", ("eunet-off", "unet-on"), ("eunet-on", "unet-off")),
    ]
    assert dataset.pairings == [*filters, *others]
    asked = Questions(primary="model")
    by_model = pairings(dataset.configurations, {}, asked)
    assert [pairing.question for pairing in by_model] == [
        *["model"] * 3,
        *["filter"] * 3,
        "interaction",
    ]


def test_a_named_pair_is_added_once_and_only_where_it_is_no_contrast_yet(tmp_path: Path) -> None:
    make_grid(tmp_path, 1)
    configurations = dataset_in(tmp_path).configurations
    plain = pairings(configurations, {})
    known = [("unet-on", "unet-off"), ("unet-off", "unet-on")]
    assert pairings(configurations, {}, Questions(known)) == plain
    pair = ("eunet-on", "unet-off")
    named = pairings(configurations, {}, Questions([pair, pair, pair[::-1]]))
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
        pairings(dataset_in(tmp_path).configurations, {}, Questions([pair]))


def test_a_baseline_is_compared_with_every_other(tmp_path: Path) -> None:
    make_grid(tmp_path, 1)
    configurations = dataset_in(tmp_path).configurations
    plain = pairings(configurations, {})
    # What differs from it in filter or model alone is compared already.
    assert pairings(configurations, {}, Questions(baseline="unet-off")) == [
        *plain,
        Pairing("pair", ("unet-off",), ("eunet-on",)),
    ]


def write_config(path: Path, **changes: Any) -> None:
    """Write config.yaml of a run; it may be resumed."""
    provenance = dict.fromkeys(
        ("config_hash", "data_hash", "threads", "precision", "tracking_id"), 0
    )
    config = {
        "data": {"volumes": []},
        "model": {"width": 1},
        "filter": {"areas": []},
        "training": {"epochs": 3},
        "provenance": provenance,
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config | changes))


def test_configurations_that_differ_in_one_key(tmp_path: Path) -> None:
    """The others less the first by its value; two keys are no question, nor is another filter."""
    for name, training in (
        ("unet-off-epochs_30", {"epochs": 30}),
        ("unet-off-epochs_4", {"epochs": 4}),
        ("unet-off-epochs_5", {"epochs": 5}),
        ("unet-off-epochs_5-batches_2", {"epochs": 50, "batches": 2}),
    ):
        write_config(make_run(tmp_path, name, 0, [0.5], [0.5]), training=training)
    for name, areas in (("unet-on-a", [1]), ("unet-on-b", [2])):
        write_config(make_run(tmp_path, name, 0, [0.5], [0.5]), filter={"areas": areas})
    assert dataset_in(tmp_path).pairings == [
        Pairing("key", ("unet-off-epochs_4",), ("unet-off-epochs_5",)),
        Pairing("key", ("unet-off-epochs_4",), ("unet-off-epochs_30",)),
        Pairing("key", ("unet-on-a",), ("unet-on-b",)),
    ]


def test_configurations_and_not_names_decide(tmp_path: Path) -> None:
    """Runs of one filter that differ in another key are no filter contrast of each other."""
    for name, epochs, areas in (
        ("unet-off", 3, []),
        ("unet-on-areas_1_x5_", 3, ["1%"]),
        ("unet-on-other", 9, ["2%"]),
    ):
        path = make_run(tmp_path, name, 0, [0.5], [0.5])
        write_config(path, training={"epochs": epochs}, filter={"areas": areas})
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
