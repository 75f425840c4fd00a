"""The floor plan of DESIGN: one room a subject, and no circle of imports anywhere."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

SOURCE = Path(__file__).parents[1] / "src" / "sacbnet"
FILES = {"__init__.py", "__main__.py", "environment.py", "errors.py", "files.py", "py.typed"}
ROOMS = {
    *("benchmark", "cli", "cohort", "config", "data", "demo", "evaluation", "imaging", "io"),
    *("kernels", "losses", "metrics", "networks", "ops", "registration", "reporting"),
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
