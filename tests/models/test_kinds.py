"""The contract of every kind of model, and a new kind by one module, one entry and one YAML."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tifffile
import torch
import yaml
from hydra import compose, initialize_config_dir

from fibseg.config.compose import CONF, register, train_config
from fibseg.config.derived import model_arguments
from fibseg.errors import FibsegError
from fibseg.filters.channels import Channels
from fibseg.models.kinds import ALL_WINDOWS, KINDS, Kind, create_model, model_kind
from fibseg.models.trained import load_model
from tests.support import Commands
from tests.support.forests import FOREST_CLASSES, phantom_forest

KEPT = [name for name, kind in KINDS.items() if kind.network is not None]
BY_GRADIENT = [name for name, kind in KINDS.items() if kind.by_gradient]
CLASSES = 4


def small_network(name: str) -> tuple[Any, int]:
    """A network as the quick recipe makes it, with the filter, and its number of channels."""
    if not KINDS[name].by_gradient:
        assert len(FOREST_CLASSES) == CLASSES
        return phantom_forest().network, 1
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config, _ = train_config(compose("train", [f"model={name}", "size=quick", "filter=on"]))
    return create_model(name, **model_arguments(config)), config.channels.count


@pytest.mark.parametrize("name", KEPT)
def test_a_network_maps_channels_to_classes_of_every_pixel(name: str) -> None:
    network, channels = small_network(name)
    with torch.inference_mode():
        logits = network.eval()(torch.rand(1, channels, 48, 50))
    assert logits.shape == (1, CLASSES, 48, 50)
    # A forest's logarithms of shares are of double precision.
    assert logits.is_floating_point()


@pytest.mark.parametrize("name", KEPT)
def test_a_network_says_how_it_may_be_cut(name: str) -> None:
    network = KINDS[name].network_class()
    assert network.stride >= 1
    assert network.halo >= 0


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_the_entry_names_weights_that_see_the_channels(name: str) -> None:
    network, channels = small_network(name)
    weights = network.state_dict()[network.entry]
    assert weights.shape[1] == channels


def keys_of(path: Path) -> set[str]:
    """Keys of a YAML file, less Hydra's list of defaults."""
    content = yaml.safe_load(path.read_text()) if path.exists() else {}
    return set(content) - {"defaults"}


def test_each_kind_has_its_yaml() -> None:
    assert {path.stem for path in (CONF / "model").glob("*.yaml")} == set(KINDS)


@pytest.mark.parametrize("size", ["paper", "quick"])
@pytest.mark.parametrize("name", list(KINDS))
def test_the_yaml_has_exactly_the_keys_of_the_entry(name: str, size: str) -> None:
    keys = keys_of(CONF / "model" / f"{name}.yaml")
    keys_of_size = keys_of(CONF / "model_size" / f"{name}_{size}.yaml")
    assert not keys & keys_of_size
    assert keys | keys_of_size == {"architecture", *KINDS[name].keys}


@pytest.mark.parametrize("name", list(KINDS))
def test_what_has_a_network_keeps_a_model(name: str) -> None:
    kind = KINDS[name]
    assert kind.keeps_model == (kind.network is not None)
    assert set(kind.windows) <= set(ALL_WINDOWS)


def test_what_is_no_kind_is_refused() -> None:
    with pytest.raises(FibsegError, match="model 'vit' is not known; expected one of unet, eunet"):
        model_kind("vit")
    with pytest.raises(FibsegError, match="model 'unet' does not fit its arguments"):
        create_model("unet", depth=3)
    with pytest.raises(FibsegError, match="ilastik"):
        create_model("ilastik")


MODULE = '''
from torch import Tensor, nn


class TinyNet(nn.Module):
    """Two convolutions."""

    stride = 1
    halo = 2
    entry = "first.weight"

    def __init__(self, channels: int, classes: int, width: int):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.head = nn.Conv2d(width, classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.first(images).relu())
'''

YAML = """
defaults:
  - /model_schema@_here_: tiny
  - _self_

architecture: tiny
width: 3
"""

SCRIPT = """
import sys

from fibseg.models.kinds import KINDS, Kind

KINDS["tiny"] = Kind(network="tiny_network:TinyNet", arguments={"width": int})

from fibseg.commands import train

if __name__ == "__main__":
    sys.exit(train.main())
"""


@pytest.mark.slow
def test_a_new_kind_is_one_module_one_entry_and_one_yaml(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    (commands.folder / "tiny_network.py").write_text(MODULE)
    script = commands.folder / "script.py"
    script.write_text(SCRIPT)
    (commands.folder / "conf" / "model").mkdir()
    (commands.folder / "conf" / "model" / "tiny.yaml").write_text(YAML)
    recipe = [item for item in commands.recipe if not item.startswith("model.")]
    more = ("model=tiny", "filter=on", "filter.areas=[20]", "training.epochs=1")
    # In a process of its own: the table is changed before the configuration asks it.
    result = subprocess.run(
        [sys.executable, str(script), *recipe, *more, "machine.processes=1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    run = commands.run_directory()
    assert run.name.startswith("tiny-on-")
    # To read the file, the table and the module are enough.
    monkeypatch.syspath_prepend(commands.folder)
    kind = Kind(network="tiny_network:TinyNet", arguments={"width": int})
    monkeypatch.setitem(KINDS, "tiny", kind)
    model = load_model(run / "checkpoints" / "model.safetensors")
    assert type(model.network).__name__ == "TinyNet"
    assert model.arguments == {"channels": 2, "classes": CLASSES, "width": 3}
    assert model.channels == Channels((20,))
    output = commands.folder / "labels.tif"
    predicted = commands.run(
        "predict.py",
        f"checkpoint={run}",
        f"image={commands.data / 'image.tif'}",
        f"output={output}",
        "device=cpu",
        "threads=1",
        "processes=1",
        "windows=paper",
    )
    assert predicted.returncode == 0, predicted.stderr
    labels = tifffile.imread(output)
    assert (labels[7:] == tifffile.imread(run / "labels" / "test.tif")).all()
