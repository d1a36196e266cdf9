"""No line of the package reads a file in a way that can run code of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support.commands import PROJECT

MODULES = {
    *("pickle", "_pickle", "cPickle", "pickletools", "marshal", "shelve"),
    *("joblib", "dill", "cloudpickle", "jsonpickle"),
}
"""Modules that unpickle whatever they read."""

CALLS = {
    *("load_from_checkpoint", "read_pickle", "read_hdf", "unsafe_load", "full_load"),
    *("unsafe_load_all", "full_load_all", "load_state_dict_from_url"),
}
"""Names of functions and methods that unpickle, or run what they are given."""

WITH_ARGUMENT = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
"""Functions that unpickle unless an argument says otherwise; it is to be written out."""

FORBIDDEN = {"torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "yaml.load_all"}

YAML_LOADERS = {"_Loader"}
"""Classes of `fibseg.config.descriptions`, which hold SafeLoader."""

OWN_FILES = {"src/fibseg/export/exchanged.py": {"torch.export.load"}}
"""What reads only what the same function has written."""


def unpickling(source: str, own: frozenset[str] | set[str] = frozenset()) -> Iterator[str]:
    """Name what unpickles in a module's source, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # What is imported by name alone has no module before it where it is called.
            module = node.module or ""
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            if module in ("torch", "numpy", "yaml") and {a.name for a in node.names} & {"load"}:
                yield f"{node.lineno}: from {module} import load"
        else:
            names = []
        yield from (
            f"{node.lineno}: import {name}" for name in names if name.split(".")[0] in MODULES
        )
        if isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {name}" for name in _of_call(node, own))


def _of_call(call: ast.Call, own: frozenset[str] | set[str]) -> Iterator[str]:
    name = ast.unparse(call.func)
    last = name.rsplit(".", 1)[-1]
    if name in WITH_ARGUMENT:
        argument, value = WITH_ARGUMENT[name]
        given = {word.arg: word.value for word in call.keywords}.get(argument)
        if not (isinstance(given, ast.Constant) and given.value is value):
            yield f"{name} without {argument}={value}"
    if name == "yaml.load":
        loader = call.args[1] if len(call.args) > 1 else None
        if not (isinstance(loader, ast.Name) and loader.id in YAML_LOADERS):
            yield "yaml.load without a safe loader"
    if any(word.arg == "allow_pickle" and _is_true(word.value) for word in call.keywords):
        yield f"{name} with allow_pickle=True"
    if last in CALLS or name in ("eval", "exec", "compile", "__import__") or name in FORBIDDEN:
        yield name
    if name == "torch.export.load" and name not in own:
        yield name


def _is_true(value: ast.expr) -> bool:
    return not (isinstance(value, ast.Constant) and value.value is False)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import joblib, os",
        "from pickle import loads",
        "from dill import load",
        "from torch import load",
        "def f():\n    import cloudpickle",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=flag)",
        "np.lib.format.read_array(file, allow_pickle=True)",
        "Segmentation.load_from_checkpoint(path)",
        "pd.read_pickle(path)",
        "pd.read_hdf(path)",
        "yaml.load(text, yaml.Loader)",
        "yaml.unsafe_load(text)",
        "torch.jit.load(path)",
        "torch.export.load(path)",
        "eval(text)",
        "exec(text)",
    ],
)
def test_what_unpickles_is_noticed(line: str) -> None:
    assert list(unpickling(line))


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path, map_location='cpu', weights_only=True)",
        "np.load(io.BytesIO(body), allow_pickle=False)",
        "yaml.load(text, _Loader)",
        "yaml.safe_load(text)",
        "network.eval()",
        "json.load(file)",
        "re.compile('a')",
        "load(file)",
    ],
)
def test_what_does_not_unpickle_is_allowed(line: str) -> None:
    assert not list(unpickling(line))


def test_nothing_in_the_package_unpickles() -> None:
    modules = sorted((PROJECT / "src").rglob("*.py"))
    assert len(modules) > 200
    wrong = []
    for path in modules:
        name = str(path.relative_to(PROJECT))
        own = OWN_FILES.get(name, frozenset())
        wrong += [f"{name}:{text}" for text in unpickling(path.read_text(), own)]
    assert not wrong


def test_the_loader_of_descriptions_is_a_safe_one() -> None:
    import yaml

    from fibseg.config import descriptions

    assert issubclass(descriptions._Loader, yaml.SafeLoader)
