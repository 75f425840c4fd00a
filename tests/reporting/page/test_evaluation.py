"""The page of an evaluation has its numbers, its worst pairs first, and nothing from outside."""

from __future__ import annotations

import re

import pytest

from sacbnet.config.registration import Options
from sacbnet.data.source import read_cases
from sacbnet.evaluation.run import evaluate
from sacbnet.reporting.page.evaluation import card_of, evaluation_page
from sacbnet.reporting.page.worst import Worst

from .conftest import Page

ALONE = Options(weights="none", affine="none", refine=0)
PAIRS = [(0, 1), (1, 2), (2, 3), (3, 4)]


@pytest.fixture(scope="module")
def scored(shapes):
    worst = Worst(most=2)
    found = evaluate(read_cases(shapes).cases, PAIRS, ALONE, watch=worst)
    return found, worst


def test_only_the_worst_pairs_have_pictures(scored) -> None:
    found, worst = scored
    dice = {
        (row["moving"], row["fixed"]): row["dice_nearest"]
        for row in found.pairs
        if row["method"] == "registered"
    }
    expected = sorted(dice, key=dice.get)[:2]
    assert set(worst.pictures["registered"]) == set(expected)


def test_the_page_has_the_numbers_and_the_worst_pairs_first(scored) -> None:
    found, worst = scored
    page = Page(evaluation_page(found, worst, "the data"))
    assert not page.faults and "pairs and labels from the data" in page.text
    rows = {row[0]: row[1:] for row in page.cells if row}
    mean = found.report["summary"]["registered"]["dice_nearest"]["mean"]
    assert rows["Dice, nearest"][1].startswith(f"{mean:.4f} ± ")
    names = re.findall(r"<h3>(.*?)</h3>", page.source)
    dice = [float(rows[name][1]) for name in names]
    assert len(names) == len(PAIRS) and dice == sorted(dice)
    assert len(page.all("img")) == 2
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert "script-src 'none'" in page.source and not page.all("script")
    assert not re.search(r'(?:src|href)="(?!data:|#)', page.source)


def test_pairs_that_failed_come_first_with_their_reason(scored) -> None:
    found, worst = scored
    bad = {"moving": "x", "fixed": "<y>", "error": "it has no labels"}
    report = found.report | {"failed": 1, "errors": [bad], "pairs": len(PAIRS) + 1}
    more = type(found)([*found.pairs, bad], found.labels, report)
    page = Page(evaluation_page(more, worst, "the data"))
    assert re.findall(r"<h3>(.*?)</h3>", page.source)[0] == "x → &lt;y&gt;"
    assert "it has no labels" in page.text and "4 of 5 pairs were scored; 1 failed." in page.text
    assert "✕failed" in page.text and not page.faults


def test_a_card_says_before_and_after_and_folds_only_where_there_are_some() -> None:
    row = {"moving": "a", "fixed": "b", "dice_nearest": 0.7, "folded_percent": 0.0}
    entry = card_of(row, {"dice_nearest": 0.5})
    assert entry.numbers == {"Dice, nearest": "0.5000 → 0.7000"}
    folded = card_of(row | {"folded_percent": 2.0})
    assert folded.numbers["folded voxels (%)"] == "2.0000"
