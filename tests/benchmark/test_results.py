"""docs/reference/results.md repeats the kept scores: its tables are made from them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacbnet.benchmark.comparison import compare, table
from sacbnet.benchmark.ledger import Ledger
from sacbnet.benchmark.plan import find_plan, read_plan

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FOLDERS = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())


def section(folder: str) -> list[str]:
    """The table below the link to the folder."""
    page = RESULTS.parent / "reference" / "results.md"
    text = page.read_text(encoding="utf-8").split(f"](../results/{folder}/pairs.csv)", 1)[1]
    return text.split("\n| ", 1)[1].split("\n\n", 1)[0].splitlines()


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_table_is_that_of_the_scores(folder):
    plan, ledger = read_plan(find_plan(folder.removesuffix("-seeds"))), Ledger(RESULTS / folder)
    names = [method.name for method in plan.methods]
    rows = list(ledger.pairs.values())
    facts = {name: ledger.facts(name) for name in names}
    asked = len({(row["moving"], row["fixed"]) for row in rows})
    assert (
        section(folder) == table(compare(rows, names), facts, asked).removeprefix("| ").splitlines()
    )
