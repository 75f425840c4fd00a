"""Many pairs on one page: cards, the table, and badges."""

from __future__ import annotations

import re

from sacbnet.reporting.page.gallery import Entry, all_table, badge, cards

from .conftest import Page

PAIRS = [
    Entry(
        "a <b>",
        "failed",
        {"Dice": "0.10"},
        "it is no better than chance",
        b"\xff\xd8",
        "a b#/r.html",
    ),
    Entry("c", "good", {"Dice": "0.80", "HD95": "3.1"}),
    Entry("d"),
]


def test_cards_escape_names_and_hold_pictures_with_words() -> None:
    found = Page(cards(PAIRS, "Edges."))
    assert not found.faults and "a <b>" in found.text and "<b>" not in cards(PAIRS)
    (image,) = found.all("img")
    assert image["src"] == "data:image/jpeg;base64,/9g=" and image["alt"] == "a <b>. Edges."
    assert found.all("a") == [{"href": "a%20b%23/r.html"}]
    assert len(found.all("li")) == 3 and len(found.all("dt")) == 3


def test_the_table_has_a_row_for_each_pair_and_gaps_where_a_number_lacks() -> None:
    found = Page(all_table(PAIRS, "All"))
    head, *rows = found.cells
    assert head == ["pair", "verdict", "Dice", "HD95", "remark"]
    assert rows[0] == ["a <b>", "✕failed", "0.10", "", "it is no better than chance"]
    assert rows[1] == ["c", "✓good", "0.80", "3.1", ""] and rows[2] == ["d", "", "", "", ""]
    plain = Page(all_table([Entry("x", numbers={"TRE": "1"})], "All"))
    assert plain.cells[0] == ["pair", "TRE"]


def test_a_badge_says_its_word_without_colour() -> None:
    signs = {word: re.sub("<.*?>", "", badge(word)) for word in ("good", "check", "failed")}
    assert signs == {"good": "✓good", "check": "!check", "failed": "✕failed"}
