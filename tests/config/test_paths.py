"""Paths as people have them on the command lines of `train` and `predict`."""

from __future__ import annotations

import shlex
import shutil
import string
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from fibseg.config import compose as configuration
from fibseg.config.command_line import quoted, readable
from fibseg.errors import FibsegError
from fibseg.models.trained import save_model
from fibseg.rules import what_to_type
from tests.support import Commands
from tests.support.in_process import call_program, kept_process_state
from tests.support.models import trained

FOLDERS = [
    "Müllerzellen",
    "cell (1)",
    "mito & er",
    "day 1,2",
    "it's",
    "a=b",
    "{x}",
    "[8 nm]",
    "#1;!",
    'say "ah"',
    "back\\slash",
    "<p>|`q`^",
]
# What is typed with the grammar in mind is Hydra's: quotes, backslashes, other keys, null.
LETTERS = string.ascii_letters + string.digits + " ()[]{}<>|&;!#,=^`@%+-./:?*é漢~\"'"


def value_of(word: str) -> object:
    """What Hydra reads in a word."""
    return OverridesParser.create().parse_override(word).value()


@given(st.text(LETTERS + "\\", min_size=1))
def test_a_text_in_quotes_is_read_as_it_is(text: str) -> None:
    assert value_of(f"image={quoted(text)}") == text


@given(st.text(LETTERS, min_size=1))
def test_a_path_is_read_as_it_is_typed(path: str) -> None:
    path = f"in/{path}"
    (word,) = readable([f"image={path}"])
    assert value_of(word) == path


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        # What worked before works as before.
        (["image=a/b.tif"], ["image=a/b.tif"]),
        (["image='a,b.tif'"], ["image='a,b.tif'"]),
        (['image="é.tif"'], ['image="é.tif"']),
        ([r"image=a\,b.tif"], [r"image=a\,b.tif"]),
        (["init_from=null", "image=???"], ["init_from=null", "image=???"]),
        (["-m", "model=unet,eunet", "seed=0,1"], ["-m", "model=unet,eunet", "seed=0,1"]),
        (["voxel_size=[8,8,8]"], ["voxel_size=[8,8,8]"]),
        (["-m", "init_from=choice(a,b)"], ["-m", "init_from=choice(a,b)"]),
        (["--config-dir=é,ü", "training.epochs=(3)"], ["--config-dir=é,ü", "training.epochs=(3)"]),
        # A number would be written in another way.
        (["output=1e3"], ["output='1e3'"]),
        (["++data.root=a (1)"], ["++data.root='a (1)'"]),
        (["data=Müller", "name=é"], ["data='Müller'", "name='é'"]),
        (["tracking.tags=[a (b),c]"], ["tracking.tags=['a (b)',c]"]),
        # In a sweep a comma separates paths, but for those in quotes.
        (["-m", "init_from=é,b"], ["-m", "init_from='é',b"]),
        (["image=a,b", "--multirun"], ["image=a,b", "--multirun"]),
        (["-m", "init_from='a,b',c (1)"], ["-m", "init_from='a,b','c (1)'"]),
        (["image=a,b"], ["image='a,b'"]),
    ],
)
def test_words_as_hydra_can_read_them(typed: list[str], expected: list[str]) -> None:
    assert readable(typed) == expected


def test_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/it's")
    for path in ("~/a.tif", '"~/a.tif"'):
        (word,) = readable([f"image={path}"])
        assert value_of(word) == "/home/it's/a.tif"
    assert value_of(readable(["image=./~/a.tif"])[0]) == "./~/a.tif"


def test_a_comma_in_a_sweep_is_no_guess(tmp_path: Path) -> None:
    path = tmp_path / "day 1,2"
    path.mkdir()
    with pytest.raises(FibsegError, match="a comma separates values") as error:
        readable(["-m", f"image={path}"])
    # What the sentence shows works in a shell.
    typed = str(error.value).split(" type ")[1].removesuffix(".")
    (word,) = shlex.split(typed)
    assert value_of(readable(["-m", word])[1]) == str(path)


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_sentence_shows_works_in_bash(folder: str) -> None:
    line = f"printf '%s\\n' {what_to_type(f'image={folder}/cell.tif')}"
    answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert value_of(answer.stdout.removesuffix("\n")) == f"{folder}/cell.tif"


@pytest.mark.slow(seconds=4)
def test_predictions_in_folders_that_people_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 255, (1, 32, 32)).astype(np.uint8)
    model = tmp_path / "modèle (1).safetensors"
    # A model from elsewhere has any names of classes.
    names = ["background", "ER/Golgi", "../../er"]
    save_model(replace(trained([], 1), class_names=names), model)
    first: bytes | None = None
    for folder in ("Müllerzellen", "day 1,2 & it's (1)", "~"):
        (tmp_path / folder).mkdir(exist_ok=True)
        place = tmp_path if folder == "~" else tmp_path / folder
        tifffile.imwrite(place / "cell.tif", pixels)
        result = call_program(
            [
                "predict.py",
                f"checkpoint={model.name}",
                f"image={folder}/cell.tif",
                f"output={folder}/labels, é (1).tif",
                f"probabilities={folder}/share.tif",
                "threads=1",
                "device=cpu",
            ],
            cwd=tmp_path,
        )
        assert result.returncode == 0, (folder, result.stderr)
        shares = {path.name for path in place.glob("share*")}
        assert shares == {"share-background.tif", "share-ER_Golgi.tif", "share-.._.._er.tif"}
        labels = tifffile.imread(place / "labels, é (1).tif").tobytes()
        first = first or labels
        assert labels == first


def run_path_of(*words: str) -> Path:
    """The run directory of a command line."""
    configuration.register()
    with (
        kept_process_state(),
        initialize_config_dir(str(configuration.CONF), version_base="1.3"),
    ):
        composed = compose("train", overrides=readable(words), return_hydra_config=True)
        HydraConfig.instance().set_config(composed)
        config, plain = configuration.train_config(configuration.without_hydra(composed))
        return configuration.run_path(config, plain)


def test_quotes_and_folders_change_no_name_of_a_run() -> None:
    usual = run_path_of("experiment=quick_v1", "seed=3", "training.schedule=constant")
    # As it was before paths were put in quotes.
    assert str(usual) == "runs/phantom/unet-off-quick_v1-schedule_constant-s3-982cf243"
    same = run_path_of(
        "experiment='quick_v1'",
        "seed=3",
        "training.schedule='constant'",
        "data.root=Müller (1), it's",
        "machine.cache=cache & co",
    )
    assert same == usual
    start = run_path_of("init_from=runs/a (1),b")
    assert start == run_path_of("init_from='other/a (1),b'")
    assert run_path_of("machine.runs=~/é").parts[0] == "/"


@pytest.mark.slow(seconds=5)
def test_a_sweep_below_such_a_folder(finished: Commands, tmp_path: Path) -> None:
    """Two seeds of which one is finished; both lie under names with a comma and brackets."""
    data = tmp_path / "data, é (1)"
    shutil.copytree(finished.data, data)
    runs = tmp_path / "läufe (2)"
    usual = [word for word in finished.recipe if not word.startswith(("data.root", "machine.runs"))]
    result = finished.run(
        "train.py",
        "-m",
        *usual,
        f'data.root="{data}"',
        f"machine.runs={runs}",
        "training.epochs=1",
        "seed=0,1",
        "hydra/launcher=basic",
    )
    assert result.returncode == 0, result.stderr
    assert len(list(runs.glob("tiny/*/scores.json"))) == 2
