"""The floor plan of DESIGN: one room a subject, and no circle of imports anywhere."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

SOURCE = Path(__file__).parents[1] / "src" / "sacbnet"
FILES = {"__init__.py", "__main__.py", "environment.py", "errors.py", "py.typed"}
ROOMS = {
    *("benchmark", "cli", "cohort", "config", "data", "demo", "evaluation", "files", "imaging"),
    *("io", "kernels", "losses", "metrics", "networks", "ops", "registration", "reporting"),
    *("spatial", "training"),
}


def test_every_subject_has_one_room() -> None:
    found = {path.name for path in SOURCE.iterdir() if path.name != "__pycache__"}
    assert found == FILES | ROOMS


def test_no_module_imports_in_a_circle() -> None:
    """Imports inside functions count, too: none of them may hide a circle."""
    graph = grimp.build_graph("sacbnet", cache_dir=None)
    modules = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
    assert len(modules) > 200
    try:
        tuple(TopologicalSorter(modules).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_module_of_one_system_is_imported() -> None:
    """sacbnet runs where fcntl, resource and the like do not exist."""
    only_posix = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"}
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [(path.name, n) for n in names if n.partition(".")[0] in only_posix]
    assert not found
