"""The house rules of the sources, as functions that list where they are broken.

Each rule takes parsed sources and gives lines such as `src/fibseg/files.py:12: why`.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MODULES_IN_A_PACKAGE = 15
LINES_IN_A_MODULE = 300
PARAMETERS = 8
PARAMETERS_WITHOUT_ARGS = 4
POSITIONAL_ARGUMENTS = 4
VAGUE_NAMES = {"told", "found", "own", "one", "shown", "ahead", "said"}
SHARED_NAMES = {
    "add_arguments": "describes the arguments of a command",
    "run": "is a command's work",
    "main": "starts a program",
}
"""Public names that modules of fibseg.commands may share, each with what it does."""
INTERFACE = "fibseg.interface.calls"
"""Its functions have the names of what they call: `train` calls that of `fibseg.training.run`."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """A Python file: its path as it is reported, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the tree, which several rules look at."""
        return list(ast.walk(self.tree))

    @property
    def module(self) -> str:
        """Dotted name of the module, less `src`."""
        parts = Path(self.path).with_suffix("").parts
        return ".".join(part for part in parts if part not in ("src", "__init__"))

    def at(self, node: ast.AST, why: str) -> str:
        """A line of a report."""
        return f"{self.path}:{node.lineno}: {why}"  # type: ignore[attr-defined]


def read_sources(project: Path, folder: str) -> list[Source]:
    """All Python files below a folder of the project."""
    return [
        Source(str(path.relative_to(project)), path.read_text(encoding="utf-8"))
        for path in sorted((project / folder).rglob("*.py"))
    ]


def large_packages(sources: list[Source]) -> list[str]:
    """Packages with too many modules."""
    modules: dict[Path, int] = defaultdict(int)
    for source in sources:
        modules[Path(source.path).parent] += Path(source.path).name != "__init__.py"
    return [
        f"{folder}: {count} modules, {MODULES_IN_A_PACKAGE} at most"
        for folder, count in modules.items()
        if count > MODULES_IN_A_PACKAGE
    ]


def long_modules(sources: list[Source]) -> list[str]:
    """Modules with too many lines."""
    lengths = {source.path: len(source.text.splitlines()) for source in sources}
    return [
        f"{path}:1: {length} lines, {LINES_IN_A_MODULE} at most"
        for path, length in lengths.items()
        if length > LINES_IN_A_MODULE
    ]


def _public_functions(source: Source) -> Iterator[tuple[str, Function]]:
    """Public functions, methods of public classes and their constructors, with their names."""
    for node in source.tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                named = isinstance(method, Function)
                if named and (method.name == "__init__" or not method.name.startswith("_")):
                    yield f"{node.name}.{method.name}", method


def _parameters(function: Function) -> list[str]:
    """Names of the parameters, less self and cls."""
    arguments = function.args
    several = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    all_of_them = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *several]
    return [argument.arg for argument in all_of_them if argument.arg not in ("self", "cls")]


def many_parameters(sources: list[Source]) -> list[str]:
    """Public functions with too many parameters."""
    return [
        source.at(
            function, f"{name}: {len(_parameters(function))} parameters, {PARAMETERS} at most"
        )
        for source in sources
        for name, function in _public_functions(source)
        if len(_parameters(function)) > PARAMETERS
    ]


def undescribed_parameters(sources: list[Source]) -> list[str]:
    """Public functions of several parameters whose docstring has no `Args:`."""
    return [
        source.at(function, f"{name}: no Args: in the docstring")
        for source in sources
        for name, function in _public_functions(source)
        if len(_parameters(function)) > PARAMETERS_WITHOUT_ARGS
        # A constructor's parameters may be described by its class.
        and "Args:" not in _docstring_with_class(source, name, function)
    ]


def _docstring_with_class(source: Source, name: str, function: Function) -> str:
    owner, _, method = name.partition(".")
    docstrings = [ast.get_docstring(function) or ""]
    if method == "__init__":
        classes = [node for node in source.tree.body if isinstance(node, ast.ClassDef)]
        docstrings += [ast.get_docstring(node) or "" for node in classes if node.name == owner]
    return "\n".join(docstrings)


def unfinished_summaries(sources: list[Source]) -> list[str]:
    """Docstrings whose first line is no sentence with a full stop, and packages without one."""
    report = []
    for source in sources:
        for node in source.nodes:
            if not isinstance(node, Function | ast.ClassDef | ast.Module):
                continue
            docstring = ast.get_docstring(node)
            line = 1 if isinstance(node, ast.Module) else node.lineno
            if docstring is None and isinstance(node, ast.Module):
                report.append(f"{source.path}:{line}: no docstring")
            if docstring is not None and not docstring.split("\n")[0].endswith("."):
                report.append(f"{source.path}:{line}: summary without a full stop")
    return report


def _top_level_names(source: Source) -> Iterator[tuple[str, ast.stmt]]:
    """Classes, functions, constants and type aliases of a module."""
    for node in source.tree.body:
        if isinstance(node, Function | ast.ClassDef):
            yield node.name, node
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                    yield name.id, node


def shared_names(sources: list[Source]) -> list[str]:
    """Public names that two modules define."""
    places: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        if source.module == INTERFACE:
            continue
        for name, node in _top_level_names(source):
            command = source.module.startswith("fibseg.commands.") and name in SHARED_NAMES
            if not name.startswith("_") and not command:
                places[name].append(f"{source.path}:{node.lineno}")
    return [
        f"{where[0]}: {name} is also in {', '.join(where[1:])}"
        for name, where in sorted(places.items())
        if len(where) > 1
    ]


def library_names(sources: list[Source]) -> list[str]:
    """Modules and packages that are called like one of the standard library."""
    return [
        f"{source.path}:1: {source.module.rpartition('.')[2]} is of the standard library"
        for source in sources
        if source.module.rpartition(".")[2] in sys.stdlib_module_names
    ]


def imports_of_tests(sources: list[Source]) -> list[str]:
    """Imports of one test module by another."""
    report = []
    for source in sources:
        for node in source.nodes:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            report += [
                source.at(node, f"imports {name}")
                for name in names
                if any(part.startswith("test_") for part in name.split(".")[:-1])
                or name.rpartition(".")[2].startswith("test_")
            ]
    return report


def several_assignments(sources: list[Source]) -> list[str]:
    """Assignments of a tuple to a tuple, and statements that `;` joins."""
    report = []
    for source in sources:
        for node in source.nodes:
            pair = isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
            if pair and any(isinstance(target, ast.Tuple) for target in node.targets):
                report.append(source.at(node, "several assignments in one statement"))
        if ";" in source.text:
            tokens = tokenize.generate_tokens(io.StringIO(source.text).readline)
            report += [
                f"{source.path}:{token.start[0]}: several statements in one line"
                for token in tokens
                if token.type == tokenize.OP and token.string == ";"
            ]
    return report


def unnamed_arguments(sources: list[Source]) -> list[str]:
    """Calls of the project's functions with many arguments by position."""
    report = []
    variadic = {
        node.name
        for source in sources
        for node in source.nodes
        if isinstance(node, Function) and node.args.vararg
    }
    for source in sources:
        known = _functions_known_to(source) - variadic
        for node in source.nodes:
            if not isinstance(node, ast.Call) or len(node.args) <= POSITIONAL_ARGUMENTS:
                continue
            name = ast.unparse(node.func)
            if name in known or name.startswith("self.") or name.partition(".")[0] in known:
                report.append(source.at(node, f"{name}: {len(node.args)} arguments without names"))
    return report


def _functions_known_to(source: Source) -> set[str]:
    """Names that are defined in a module or imported from the project."""
    names = {name for name, _ in _top_level_names(source)}
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fibseg"):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def vague_names(sources: list[Source]) -> list[str]:
    """Variables, parameters, functions and attributes with names that say nothing."""
    return [
        source.at(node, f"the name {name} does not say what it holds")
        for source in sources
        for node in source.nodes
        for name in _bound_names(node)
        if name in VAGUE_NAMES
    ]


def _bound_names(node: ast.AST) -> list[str]:
    """Names that a node gives to something."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        return [node.attr]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.alias):
        return [node.asname or ""]
    return []
