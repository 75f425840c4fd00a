"""The pairs to look at first; the page that shows them."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from sacbnet.cohort.index import index_of, write_index
from sacbnet.cohort.outliers import STANDS_OUT, by_urgency, oddness
from sacbnet.cohort.summary import Cohort, Outcome
from sacbnet.cohort.thumbnails import write_thumbnail
from sacbnet.config.registration import Options


def row(name, likeness=0.8, dice=0.7, verdict="good", folds=0.0, status="done", **more):
    numbers = (
        {}
        if status == "failed"
        else {
            "local_correlation_start": 0.2,
            "local_correlation_final": likeness,
            "dice_start": 0.5,
            "dice_final": dice,
            "folded_percent": folds,
            "non_diffeomorphic_percent": folds,
            "seconds": 1.0,
        }
    )
    return Outcome(
        name,
        "f.nii",
        "m.nii",
        status,
        verdict="" if status == "failed" else verdict,
        **numbers,
        **more,
    )


def usual(count):
    spread = np.random.default_rng(0).normal(0, 0.01, count)
    return [row(f"usual{n}", 0.8 + x, 0.7 + x) for n, x in enumerate(spread)]


def test_one_bad_pair_stands_out_and_good_ones_do_not():
    rows = [*usual(20), row("bad", 0.6, 0.7), row("best", 0.95, 0.9)]
    odd = dict(zip([r.name for r in rows], oddness(rows), strict=True))
    assert odd["bad"] > STANDS_OUT > max(v for k, v in odd.items() if k != "bad")
    assert odd["best"] == 0
    # by Dice alone, and by folding alone
    assert oddness([*usual(20), row("x", dice=0.5)])[-1] > STANDS_OUT
    assert oddness([*usual(20), row("x", folds=2.0)])[-1] > STANDS_OUT
    # the bad one does not hide itself by widening the spread: six of twenty are bad
    assert min(oddness([*usual(14), *(row(f"b{n}", 0.3) for n in range(6))])[14:]) > STANDS_OUT


def test_few_or_equal_pairs_have_no_outliers():
    assert oddness([row("a"), row("b", 0.1)]) == [0, 0]
    assert max(oddness([row(str(n)) for n in range(9)])) == 0


def test_failed_then_doubtful_then_the_others():
    rows = [*usual(9), row("odd", 0.4), row("check", verdict="check"), row("x", status="failed")]
    names = [r.name for r, _ in by_urgency(rows)]
    assert names[:3] == ["x", "odd", "check"]
    assert set(names[3:]) == {f"usual{n}" for n in range(9)}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.images, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "a":
            self.links.append(given["href"])
        if tag == "img":
            self.images.append((given["src"], given["alt"]))


def test_the_page_shows_each_pair_and_escapes_what_files_say(tmp_path):
    evil = "<script>alert(1)</script>"
    rows = [*usual(6), row("a b+c", 0.1), row("lost", status="failed", error=evil)]
    write_thumbnail(tmp_path, "a b+c", b"a picture")
    (tmp_path / "usual1").mkdir()
    (tmp_path / "usual1" / "report.html").touch()
    cohort = Cohort(9, Options(weights="none"), None, rows)
    write_index(cohort, tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert text == index_of(cohort, tmp_path)
    assert evil not in text and html.escape(evil) in text
    assert "7 done" in text and "1 failed" in text and "1 waiting" in text and "1 stand out" in text
    page = Page(text)
    assert page.images[0][0] == "thumbnails/a%20b%2Bc.jpg" and len(page.images) == 1
    assert page.links == ["summary.csv", "a%20b%2Bc/run.json", *page.links[2:]]
    assert "usual1/report.html" in page.links and "lost/run.json" not in page.links
    order = re.findall(r'scope="row">(?:<a [^>]*>)?([^<]+)', text)
    assert order[:2] == ["lost", "a b+c"]


@pytest.mark.parametrize("status", ["done", "skipped"])
def test_a_pair_without_a_verdict_is_shown(status, tmp_path):
    cohort = Cohort(1, Options(weights="none"), None, [row("a", verdict="", status=status)])
    assert "unknown" in index_of(cohort, tmp_path)
