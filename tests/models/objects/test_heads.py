"""Networks with maps of objects: what they give, keep in a file, and take from another run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fibseg.errors import FibsegError
from fibseg.models.kinds import create_model
from fibseg.models.objects import ObjectRules
from fibseg.models.start import start_from
from fibseg.models.trained import FORMAT, load_model, save_model
from tests.support.instances import with_head
from tests.support.models import SMALL_NETWORKS, content_of, save_content, trained


@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_maps_follow_the_classes_and_change_nothing_of_them(name: str) -> None:
    torch.manual_seed(3)
    plain = create_model(name, **SMALL_NETWORKS[name]).eval()
    torch.manual_seed(3)
    network = create_model(name, **SMALL_NETWORKS[name], maps=2).eval()
    weights = network.state_dict()
    assert weights.keys() - plain.state_dict().keys() == {"maps.weight", "maps.bias"}
    for key, value in plain.state_dict().items():
        assert torch.equal(value, weights[key]), key
    images = torch.rand(2, 1, 70, 90, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = plain(images)
        scores = network(images, with_maps=True)
        assert torch.equal(network(images), logits)
    assert scores.shape == (2, 6, 70, 90)
    assert torch.equal(scores[:, :4], logits) and scores[:, 4:].std() > 0


def test_a_model_file_keeps_the_rules_of_objects(tmp_path: Path) -> None:
    model = with_head()
    save_model(model, tmp_path / "model.safetensors")
    read = load_model(tmp_path / "model.safetensors")
    assert read.objects == model.objects
    assert content_of(tmp_path / "model.safetensors")["format"] == FORMAT
    save_model(trained([], 1), tmp_path / "plain.safetensors")
    assert load_model(tmp_path / "plain.safetensors").objects is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"level": 2.0}, "objects is a dict; expected null, or head"),
        ({"head": "eyes"}, "objects is a dict; expected null, or head"),
        ({"smallest": 0}, "objects is a dict; expected null, or head"),
        ({"classes": ["a"]}, "do not fit each other"),
        ({"classes": ["a", "c"]}, "do not fit each other"),
        ({"head": "none"}, "do not fit each other"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, changes: dict, sentence: str) -> None:
    path = tmp_path / "model.safetensors"
    save_model(with_head(), path)
    content = content_of(path)
    save_content({**content, "objects": content["objects"] | changes}, path)
    with pytest.raises(FibsegError, match=sentence):
        load_model(path)


def test_a_start_with_other_heads() -> None:
    source = with_head(seed=1)
    assert source.objects is not None
    model = with_head(seed=2)
    start_from(model, source)
    for name, value in source.network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], value)
    # Without a head there, its layer stays random; all others start from the run.
    other = with_head(seed=2)
    kept = other.network.state_dict()["maps.weight"].clone()
    start_from(other, trained([], 1))
    state = other.network.state_dict()
    assert torch.equal(state["maps.weight"], kept)
    assert torch.equal(state["head.weight"], trained([], 1).network.state_dict()["head.weight"])
    plain = trained([], 1)
    start_from(plain, source)
    assert torch.equal(
        plain.network.state_dict()["head.bias"], source.network.state_dict()["head.bias"]
    )


def test_maps_of_a_start_are_matched_by_class() -> None:
    source = with_head(seed=1)
    swapped = replace(source, objects=ObjectRules("contour", ["b", "a"]))
    model = with_head(seed=2)
    start_from(model, swapped)
    rows = source.network.state_dict()["maps.weight"]
    assert torch.equal(model.network.state_dict()["maps.weight"], rows[[1, 0]])
