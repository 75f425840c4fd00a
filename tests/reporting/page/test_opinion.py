"""The verdict's card says what is known, and is ready for each verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sacbnet.reporting.page.opinion import Opinion, card, opinion_of


def test_evidence_has_the_numbers_of_the_account(registered) -> None:
    report = registered.report
    told = opinion_of(report)
    s = report.similarity
    a, b = s.start.local_correlation, s.final.local_correlation
    assert told.reasons[0] == f"The local correlation rose from {a:.3f} to {b:.3f}."
    assert "The transform does not fold." in told.reasons
    folded = replace(report, folding=replace(report.folding, folded_voxels=7))
    assert "The transform folds in 7 voxels." in opinion_of(folded).reasons
    same = replace(report, similarity=replace(s, start=s.final))
    assert opinion_of(same).reasons[0] == f"The local correlation stayed at {b:.3f}."
    fell = replace(report, similarity=replace(s, start=s.final, final=s.start))
    assert "fell from" in opinion_of(fell).reasons[0]


def test_the_number_of_warnings(registered) -> None:
    def last(*warnings):
        return opinion_of(replace(registered.report, warnings=warnings)).reasons[-1]

    assert last() == "There are no warnings."
    assert last("a") == "There is one warning (below)."
    assert last("a", "b") == "There are 2 warnings (below)."


@pytest.mark.parametrize("kind", ["good", "check", "failed", "open"])
def test_each_verdict_has_a_card(kind) -> None:
    made = card(Opinion(kind, "So & so", "It is <so>.", ("because",)))
    assert f'class="verdict {kind}"' in made and "So &amp; so" in made
    assert "It is &lt;so&gt;." in made and "<li>because</li>" in made
