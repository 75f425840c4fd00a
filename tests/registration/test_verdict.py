"""The verdict: what speaks against a result, what is worse than the start, and what is good."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sacbnet.registration.steps import Likeness, Steps
from sacbnet.registration.verdict import TOLERANCE, Evidence, Verdict, judge, worse

START = Likeness(0.3, 1.2)
WORSE = Likeness(0.29, 1.19)
REFUSED = "less like the fixed image than the start"


def steps(final: Likeness) -> Steps[Likeness]:
    return Steps(START, START, final)


@pytest.mark.parametrize(
    "final",
    [START, Likeness(0.2, 1.3), Likeness(0.4, 1.1), Likeness(0.299, 1.199)],
    ids=["equal", "one measure", "the other measure", "within the tolerance"],
)
def test_what_is_not_worse_passes_and_the_smoothed_images_are_not_measured(final) -> None:
    def calm() -> Steps[Likeness]:
        raise AssertionError("measured without need")

    assert worse(steps(final), calm) is None


@pytest.mark.parametrize(
    "final",
    [WORSE, Likeness(math.nan, 1.1), Likeness(math.nan, math.nan)],
    ids=["worse", "one is no number", "none is a number"],
)
def test_what_is_worse_in_both_is_refused(final) -> None:
    assert REFUSED in str(worse(steps(final)))


@pytest.mark.parametrize(
    "start, final, refused",
    [
        (0.5, 0.6, False),
        (0.5, 0.5 - 1.9 * TOLERANCE, False),
        (0.5, 0.5 - 2.1 * TOLERANCE, True),
        (0.5, 0.3, True),
        (0.5, math.nan, True),
    ],
)
def test_the_smoothed_images_decide_whether_noise_made_it_worse(start, final, refused) -> None:
    """Their local correlation decides, at the start and at the end; nothing else of them does."""
    calm = Steps(Likeness(start, 1.5), Likeness(0.9, 1.9), Likeness(final, 1.0))
    if not refused:
        assert worse(steps(WORSE), lambda: calm) is None
        return
    sentence = str(worse(steps(WORSE), lambda: calm))
    assert REFUSED in sentence
    # the sentence tells what the user's images have, not the smoothed ones
    assert "0.300 -> 0.290" in sentence and "1.200 -> 1.190" in sentence


@pytest.mark.parametrize("final", [Likeness(math.nan, 1.0), Likeness(0.1, math.nan)])
def test_what_is_not_finite_is_not_excused_by_the_smoothed_images(final) -> None:
    assert REFUSED in str(worse(steps(final), lambda: steps(START)))


def test_the_tolerance_is_the_callers() -> None:
    assert worse(steps(WORSE), tolerance=0.02) is None
    assert REFUSED in str(worse(steps(Likeness(0.299, 1.199)), tolerance=1e-4))


GOOD = Evidence(
    likeness=0.7, chance=0.15, start=0.5, overlap=0.98, shared=1.0, stretch=0.4, bend=0.05
)


def test_nothing_against_it_is_good() -> None:
    assert judge(GOOD, None) == Verdict("good")
    assert str(Verdict("good")) == "good"


@pytest.mark.parametrize(
    "change, word, reason",
    [
        ({"likeness": 0.4}, "check", "little more alike than by chance"),
        ({"likeness": 0.2}, "failed", "hardly more alike than by chance"),
        ({"likeness": 0.0, "chance": 0.0}, "failed", "hardly more alike than by chance"),
        ({"shared": 0.3}, "check", "shows only 30 % of the fixed body"),
        ({"overlap": 0.7}, "check", "overlap by 0.70 only"),
        ({"stretch": math.log(5)}, "check", "up to 5.0-fold"),
        ({"bend": 0.5}, "check", "50 % of the body's radius"),
    ],
)
def test_each_number_can_speak_against_a_result(change, word, reason) -> None:
    found = judge(replace(GOOD, **change), None)
    assert found.word == word
    assert len(found.reasons) == 1 and reason in found.reasons[0]
    assert str(found) == f"{word}: {found.reasons[0]}"


def test_doubts_ask_for_a_look_and_a_worse_result_failed() -> None:
    assert judge(GOOD, None, ["two poses match"]) == Verdict("check", ("two poses match",))
    assert judge(GOOD, "it is worse", ["two poses match"]) == Verdict(
        "failed", ("it is worse", "two poses match")
    )
