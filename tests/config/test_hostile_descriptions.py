"""Data descriptions from elsewhere: nothing in them is computed, and sizes are asked first."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fibseg.config.compose import load_description
from fibseg.config.descriptions import read_plain
from fibseg.data.description import check_description
from fibseg.errors import FibsegError
from tests.support import TINY, Commands
from tests.support.mistakes import check_mistakes, check_row

LETTERS = "abcdefgh"
# Nine of nine of nine ... texts: 387 million values in 400 bytes.
LAUGHS = "".join(
    f"{name}: &{name} [{', '.join([before] * 9)}]\n"
    for before, name in zip(["x", *(f"*{letter}" for letter in LETTERS)], LETTERS, strict=False)
)


def tiny(old: str, new: str) -> str:
    assert old in TINY
    return TINY.replace(old, new)


COMPUTED = "would be computed; write the value itself"
HOSTILE = {
    "a secret in a path": (
        tiny("image: image.tif", 'image: "${oc.env:WANDB_API_KEY}/image.tif"'),
        "WANDB_API_KEY is a secret, which no configuration may read",
    ),
    "a variable": (tiny("image: image.tif", 'image: "${oc.env:USER}"'), COMPUTED),
    "a variable with a default": (tiny("image: image.tif", 'image: "${oc.env:U,x}"'), COMPUTED),
    "a secret in a name": (tiny("name: tiny", 'name: "${oc.env:A_TOKEN}"'), "A_TOKEN is a secret"),
    "a computed key": (tiny("  er:", '  "${oc.env:USER}":'), COMPUTED),
    "a computed resolver": (tiny("image: image.tif", 'image: "${oc.${name}:USER}"'), COMPUTED),
    "a decoded text": (tiny("image: image.tif", "image: '${oc.decode:\"${x}\"}'"), COMPUTED),
    "Hydra's own values": (tiny("image: image.tif", 'image: "${hydra:runtime.cwd}"'), COMPUTED),
    "keys beside the data": (f"# @package _global_\n{TINY}", "'# @package' has no place"),
    "other files": (f"defaults: [vnc]\n{TINY}", "defaults: no key of a data description"),
    "a key of Hydra": (f"{TINY}\nhydra: {{job: {{chdir: true}}}}\n", "hydra: no such key"),
    "an object": (tiny("name: tiny", "name: !!python/name:os.system ''"), "no YAML (could not"),
    "aliases": (f"{TINY}\n{LAUGHS}", "more than 200000 values once its aliases"),
    "a circle": (tiny("labels: labels.tif", "labels: &x {er: *x}"), "nested deeper than"),
    "brackets": (f"a: {'[' * 20_000}", "nested deeper than"),
    "50 levels": (tiny("labels: labels.tif", f"labels: {'[' * 50}{']' * 50}"), "nested deeper"),
    "2 MB": ("#" * 2_000_000, "2 MB; a data description has 1 MB at most"),
    "no mapping": ("- a\n", "expected keys and values"),
    "nothing": ("", "expected keys and values"),
    "a key twice": (f"{TINY}\nignore: 3\n", "the key ignore stands there twice"),
    "a number as key": (tiny("  er:", "  12:"), "the key 12 is no text; put it in quotes"),
    "5,000 digits": (tiny("label: 3", f"label: {'3' * 5000}"), "a value cannot be read (Exceeds"),
    "a folder as name": (tiny("name: tiny", "name: a/../../x"), "data.name: a/../../x"),
    "markup as name": (tiny("name: tiny", "name: '[/b]'"), "data.name: [/b] is impossible"),
    "no name": (tiny("name: tiny", "name: ''"), "data.name: '' is impossible"),
    "a long name": (tiny("name: tiny", f"name: {'x' * 300}"), "100 at most"),
    "a long class": (tiny("  er:", f"  {'x' * 200}:"), "data.classes: xxx"),
    "no class": (tiny("  er:", "  '':"), "data.classes: '' is impossible"),
    "a colour as class": (tiny("  er:", '  "\\e[31mer":'), r"data.classes: \x1b[31mer"),
    "a phantom of petabytes": (
        f"{tiny('phantom: null', '')}\nphantom: {{shape: [100000, 100000, 100000], seed: 0}}\n",
        "data.phantom.shape: [100000, 100000, 100000] is impossible",
    ),
    "a phantom of nothing": (
        f"{tiny('phantom: null', '')}\nphantom: {{shape: [0, 9, 9], seed: 0}}\n",
        "data.phantom.shape: [0, 9, 9] is impossible",
    ),
    "a phantom that is too crowded": (
        f"{tiny('phantom: null', '')}\nphantom: {{shape: [9, 96, 96], seed: 0, touching: 5000}}\n",
        "data.phantom.touching: 5000 is impossible",
    ),
    "voxels of a mile": (tiny("[20, 5, 5]", "[2.0e+12, 5, 5]"), "nm, 1e+09 at most"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_descriptions_get_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    text, message = HOSTILE[case]
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FibsegError) as error:
        check_description(load_description(str(path)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert "0123456789abcdef" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["er", "Müller glia", "Golgi (cis+trans)", "小胞体", "[/b]", "ER/Golgi", "=cmd|x", "#1", "a&b"],
)
def test_names_that_classes_have_are_taken(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(tiny("  er:", f"  {name!r}:"), encoding="utf-8")
    assert name in load_description(str(path)).classes


def test_a_reference_to_another_key_and_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = tiny("image: image.tif", 'image: "~/${name}.tif"')
    (tmp_path / "x.yaml").write_text(text)
    assert load_description(str(tmp_path / "x.yaml")).volumes[0].image == "/home/me/tiny.tif"


def test_an_alias_that_is_small_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &a [1, 2]\nb: *a\n")
    assert read_plain(tmp_path / "x.yaml") == {"a": [1, 2], "b": [1, 2]}


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """Address of a server, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


def test_no_key_reaches_a_host(
    commands: Commands, asked: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, paths = asked
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    description = commands.folder / "conf" / "data" / "tiny.yaml"
    for variable in ("WANDB_API_KEY", "HOME"):
        url = f"{host}/${{oc.env:{variable}}}/c.zarr"
        description.write_text(tiny("image: image.tif", f'image: "{url}"'))
        for result in (
            commands.run("fibseg", "check", "tiny", cwd=commands.folder),
            commands.train(),
        ):
            sentence = commands.refused(result, "volumes[0].image: ")
            assert "0123456789abcdef" not in sentence
    assert paths == []
    # Without the variable the host is asked: the server of this test works.
    description.write_text(tiny("image: image.tif", f'image: "{host}/c.zarr"'))
    assert commands.run("fibseg", "check", "tiny", cwd=commands.folder).returncode == 2
    assert paths


def test_a_description_that_would_run_code_is_not_given_to_hydra(commands: Commands) -> None:
    trap = commands.folder / "trap"
    callback = (
        f"{{_target_: pathlib.Path.touch, self: {{_target_: pathlib.Path, _args_: [{trap}]}}}}"
    )
    text = f"# @package _global_\nhydra:\n  callbacks:\n    x: {callback}\n"
    (commands.folder / "conf" / "data" / "trap.yaml").write_text(text)
    recipe = [word for word in commands.recipe if not word.startswith("data=")]
    for words in (["data=trap"], ["-m", "data='trap',phantom"], ["+data=trap"]):
        commands.refused(commands.run("train.py", *recipe, *words), "has no place in a data")
        assert not trap.exists()


SECTION = {
    "description: reads a variable": "a variable",
    "description: reads a secret": "a secret in a path",
    "description: asks Hydra for more": "keys beside the data",
    "description: a bomb of aliases": "aliases",
    "description: a name that is a path": "a folder as name",
    "description: a class that colours the terminal": "a colour as class",
    "description: a phantom of petabytes": "a phantom of petabytes",
}


@pytest.mark.parametrize("row", SECTION)
def test_rows_of_the_page(commands: Commands, row: str) -> None:
    text, message = HOSTILE[SECTION[row]]
    (commands.folder / "conf" / "data" / "tiny.yaml").write_text(text)
    check_row(row, commands.refused(commands.train(), message))


def test_the_docs_have_these_mistakes() -> None:
    check_mistakes("description:", SECTION)
