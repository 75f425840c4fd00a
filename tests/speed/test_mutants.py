"""The list of mistakes that the tests should find."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("mutants", ROOT / "speed" / "mutants.py")
mutants = importlib.util.module_from_spec(SPEC)
# dataclasses look the module up by its name
sys.modules["mutants"] = mutants
SPEC.loader.exec_module(mutants)
LISTED = mutants.read_list()


def test_the_mistakes_are_many_and_fit_their_files():
    """A change of the program may make a few of them stale; then the list is to be mended."""
    assert len(LISTED) >= 150
    assert len({(m.file, m.name) for m in LISTED}) == len({(m.file, m.old, m.new) for m in LISTED})
    stale = [f"{m.file}: {m.name}" for m in LISTED if not m.fits(ROOT)]
    assert len(stale) <= len(LISTED) // 10, stale
    for m in LISTED:
        assert m.new != m.old
        assert all((ROOT / test.split("::")[0]).exists() for test in m.tests), m


@pytest.mark.parametrize(
    "body, expected",
    [
        ("assert twice(2) == 4", "found"),
        ("assert twice", "missed"),
        ("assert twice(2) == 5", "stale"),  # it fails without the mistake, too
    ],
)
def test_a_mistake_is_found_or_missed_by_its_tests(tmp_path, body, expected):
    (tmp_path / "module.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "test_it.py").write_text(
        "import sys\nfrom pathlib import Path\n\nsys.path.insert(0, str(Path(__file__).parent))\n"
        f"from module import twice\n\n\ndef test_twice():\n    {body}\n"
    )
    mistake = mutants.Mutant("a factor", "module.py", "2 * x", "3 * x", ("test_it.py",))
    before = (tmp_path / "module.py").read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr("sys.dont_write_bytecode", True)
        end, _ = mutants.outcome(mistake, tmp_path, {})
        stale = mutants.Mutant("gone", "module.py", "4 * x", "3 * x", ("test_it.py",))
        assert mutants.outcome(stale, tmp_path, {})[0] == "stale"
    assert end == expected
    assert (tmp_path / "module.py").read_text() == before
