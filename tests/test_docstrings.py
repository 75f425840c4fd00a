"""Public functions and classes state what goes in, comes out and is raised, in NumPy's sections.

Public is a name without a leading underscore in a module with such a name. The command line is
left out, because `--help` documents its functions. Sections are read from the source: nothing is
imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString

SOURCE = Path(__file__).parents[1] / "src" / "sacbnet"
# help texts; a program of its own; see their tests
WITHOUT = ("cli", "benchmark/tools/worker.py", "kernels/cuda")
# of torch's modules and functions: the class says the shapes
INHERITED = {"forward", "backward", "setup_context"}
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions() -> Iterator[tuple[str, Definition]]:
    """Name and tree of every public function, class and method."""
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        if place.startswith(WITHOUT) or (path.stem.startswith("_") and path.stem != "__init__"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, Definition) or node.name.startswith("_"):
                continue
            yield f"{place}:{node.name}", node
            if isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
                        yield f"{place}:{node.name}.{part.name}", part


def is_property(node: Definition) -> bool:
    marks = [ast.unparse(mark) for mark in node.decorator_list]
    return any(mark.endswith(("property", ".setter")) for mark in marks)


def is_override(node: Definition) -> bool:
    """Whether a method is marked @override: the sections stand in its base class, and hold."""
    return any(ast.unparse(mark) == "override" for mark in node.decorator_list)


def arguments(node: ast.FunctionDef) -> list[str]:
    """The names a caller passes; without self and cls."""
    a = node.args
    names = [x.arg for x in (*a.posonlyargs, *a.args)]
    if names and names[0] in ("self", "cls"):
        names = names[1:]
    names += [x.arg for x in a.kwonlyargs]
    return [name for name in names if not name.startswith("_")]


def fields(node: ast.ClassDef) -> list[str]:
    """Public fields of a dataclass or named tuple; else the arguments of a written-out __init__."""
    kinds = [ast.unparse(x) for x in (*node.decorator_list, *node.bases)]
    if any("dataclass" in kind or "NamedTuple" in kind or "TypedDict" in kind for kind in kinds):
        found = [
            x for x in node.body if isinstance(x, ast.AnnAssign) and isinstance(x.target, ast.Name)
        ]
        return [
            x.target.id
            for x in found
            if "ClassVar" not in ast.unparse(x.annotation) and not x.target.id.startswith("_")
        ]
    init = next(
        (x for x in node.body if isinstance(x, ast.FunctionDef) and x.name == "__init__"), None
    )
    return arguments(init) if init else []


def missing(node: Definition) -> list[str]:
    """What the docstring lacks."""
    text = ast.get_docstring(node)
    if not text:
        return ["docstring"]
    if is_property(node) or is_override(node) or node.name in INHERITED:
        return []
    doc = NumpyDocString(text)
    named = [
        name.strip().lstrip("*")
        for section in ("Parameters", "Other Parameters", "Attributes")
        for entry in doc[section]
        for name in entry.name.split(",")
    ]
    asked = fields(node) if isinstance(node, ast.ClassDef) else arguments(node)
    lacks = [f"Parameters: {name}" for name in asked if name not in named]
    if isinstance(node, ast.FunctionDef):
        returned = ast.unparse(node.returns) if node.returns else "None"
        if returned not in ("None", "NoReturn", "Never") and not (doc["Returns"] or doc["Yields"]):
            lacks.append("Returns")
        raised = {
            ast.unparse(x.exc.func if isinstance(x.exc, ast.Call) else x.exc)
            for x in ast.walk(node)
            if isinstance(x, ast.Raise) and x.exc is not None
        }
        told = {
            name.strip()
            for entry in doc["Raises"]
            for name in (entry.type or entry.name).split(",")
        }
        lacks += [
            f"Raises: {x}"
            for x in sorted(raised)
            if x.endswith("Error") and x[0].isupper() and x not in told
        ]
    return lacks


FOUND = dict(definitions())


@pytest.mark.parametrize("name", FOUND)
def test_sections_are_complete(name):
    assert not missing(FOUND[name])
