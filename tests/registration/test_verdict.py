"""Which results are refused: worse in both measures, and worse without their noise, too."""

from __future__ import annotations

import math

import pytest

from sacbnet.errors import RegistrationError
from sacbnet.registration.report import Likeness, Steps
from sacbnet.registration.verdict import TOLERANCE, refuse_worse

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

    refuse_worse(steps(final), calm)


@pytest.mark.parametrize(
    "final",
    [WORSE, Likeness(math.nan, 1.1), Likeness(math.nan, math.nan)],
    ids=["worse", "one is no number", "none is a number"],
)
def test_what_is_worse_in_both_is_refused(final) -> None:
    with pytest.raises(RegistrationError, match=REFUSED):
        refuse_worse(steps(final))


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
        refuse_worse(steps(WORSE), lambda: calm)
        return
    with pytest.raises(RegistrationError, match=REFUSED) as raised:
        refuse_worse(steps(WORSE), lambda: calm)
    # the sentence tells what the user's images have, not the smoothed ones
    assert "0.300 -> 0.290" in str(raised.value) and "1.200 -> 1.190" in str(raised.value)


@pytest.mark.parametrize("final", [Likeness(math.nan, 1.0), Likeness(0.1, math.nan)])
def test_what_is_not_finite_is_not_excused_by_the_smoothed_images(final) -> None:
    with pytest.raises(RegistrationError, match=REFUSED):
        refuse_worse(steps(final), lambda: steps(START))


def test_the_tolerance_is_the_callers() -> None:
    refuse_worse(steps(WORSE), tolerance=0.02)
    with pytest.raises(RegistrationError, match=REFUSED):
        refuse_worse(steps(Likeness(0.299, 1.199)), tolerance=1e-4)
