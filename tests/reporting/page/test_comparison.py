"""The page of a benchmark has its table, and pictures of each method's worst pairs."""

from __future__ import annotations

import pytest

from sacbnet.benchmark.plan import plan_from_dict
from sacbnet.benchmark.run import Setting, benchmark
from sacbnet.reporting.page.comparison import MOST, comparison_page
from sacbnet.reporting.page.worst import Worst

from .conftest import Page

PLAN = {
    "name": "toy",
    "subset": "3:",
    "method": [
        {"name": "identity", "weights": "none", "refine": 0},
        {"name": "again <2>", "weights": "none", "refine": 0},
    ],
}


@pytest.fixture
def run(shapes, tmp_path):
    def go(worst):
        setting = Setting(shapes, tmp_path / "out", device="cpu")
        return benchmark(plan_from_dict(PLAN), setting, say=lambda line: None, watch=worst)

    return go


def test_the_page_has_the_table_and_each_methods_pictures(run, tmp_path) -> None:
    found = run(Worst(MOST, tmp_path / "pictures"))
    page = Page(comparison_page(found, Worst(MOST, tmp_path / "pictures")))
    assert not page.faults and not page.all("script")
    heads, *rows = page.cells[:3]
    assert heads[:3] == ["method", "pairs", "Dice, nearest"]
    assert [row[0] for row in rows] == ["identity", "again <2>"]
    mean = found.report.standings[0].numbers["dice_nearest"].mean
    assert rows[0][2].startswith(f"{mean:.4f}")
    assert len(page.all("img")) == 2 * MOST
    assert "again &lt;2&gt;</h3>" in page.source
    resumed = Worst(MOST, tmp_path / "pictures")
    assert Page(comparison_page(run(resumed), resumed)).all("img") == page.all("img")


def test_a_benchmark_without_scores_has_a_page(run) -> None:
    found = run(None)
    empty = type(found)(type(found.report)(found.report.plan, found.report.environment, "", 2), "")
    page = Page(comparison_page(empty, Worst()))
    assert (
        not page.faults and "not run yet" in page.text and "There are no scores yet." in page.text
    )
