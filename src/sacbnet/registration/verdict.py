"""Whether a registration worked: good, to be checked, or failed; with reasons in words.

`evidence.evidence_of` measures the numbers behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .steps import Likeness, Steps

TOLERANCE = 5e-3  # of either measure: interpolation alone may cost so much
# Limits of the evidence. `speed/verdict.py` measures what they find on right and on wrong pairs.
_FAILED_GAIN, _CHECK_GAIN = 0.12, 0.35  # likeness beyond chance
_SHARED = 0.5  # of the fixed body that the moving image shows
_OVERLAP = 0.9  # Dice of the bodies
_STRETCH, _BEND = 1.2, 0.2

Word = Literal["good", "check", "failed"]


@dataclass(frozen=True)
class Evidence:
    """Numbers from which a verdict is made.

    Parameters
    ----------
    likeness : float
        Mean squared local correlation inside the fixed body, smoothed images, 0 to 1.
    chance : float
        The same after the moved image was shifted by 15% of the body, mean over eight directions.
    start : float
        The same after the affine alignment alone.
    overlap : float
        Dice of the two bodies where both images are known.
    shared : float
        Share of the fixed body that the moving image shows.
    stretch : float
        95th percentile, inside the fixed body, of the absolute logarithm of the local change of
        volume beyond the affine.
    bend : float
        Root mean square displacement beyond the affine inside the fixed body, as a share of the
        body's radius.
    """

    likeness: float
    chance: float
    start: float
    overlap: float
    shared: float
    stretch: float
    bend: float


@dataclass(frozen=True)
class Verdict:
    """Whether a registration worked.

    Parameters
    ----------
    word : {"good", "check", "failed"}
        "good": nothing speaks against the result. "check": something does; look at it. "failed":
        it is no better than chance, or worse than the start.
    reasons : tuple of str, default ()
        What speaks against it, in sentences without a full stop; empty if it is good.
    """

    word: Word
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The word, and the reasons behind a colon."""
        return f"{self.word}: {'; '.join(self.reasons)}" if self.reasons else self.word


def judge(evidence: Evidence, against: str | None, doubts: Sequence[str] = ()) -> Verdict:
    """Make a verdict.

    Parameters
    ----------
    evidence : Evidence
        What was measured of the result.
    against : str or None
        Why the result is worse than the start (`worse`); None if it is not.
    doubts : sequence of str, default ()
        What the stages before said against the pose or the images.

    Returns
    -------
    Verdict
        The verdict.
    """
    gain = evidence.likeness - evidence.chance
    failures = [] if against is None else [against]
    if gain < _FAILED_GAIN:
        failures.append(
            f"the images are hardly more alike than by chance (local correlation"
            f" {evidence.likeness:.2f}, by chance {evidence.chance:.2f})"
        )
    found = list(doubts)
    if _FAILED_GAIN <= gain < _CHECK_GAIN:
        found.append(
            f"the images are little more alike than by chance (local correlation"
            f" {evidence.likeness:.2f}, by chance {evidence.chance:.2f})"
        )
    if evidence.shared < _SHARED:
        found.append(f"the moving image shows only {100 * evidence.shared:.0f} % of the fixed body")
    if evidence.overlap < _OVERLAP:
        found.append(
            f"the outlines of the bodies overlap by {evidence.overlap:.2f} only (1: fully)"
        )
    if evidence.stretch > _STRETCH or evidence.bend > _BEND:
        found.append(
            f"the deformation is extreme (volumes change up to {np.exp(evidence.stretch):.1f}-fold,"
            f" displacements are {100 * evidence.bend:.0f} % of the body's radius)"
        )
    if failures:
        return Verdict("failed", (*failures, *found))
    return Verdict("check", tuple(found)) if found else Verdict("good")


def worse(
    similarity: Steps[Likeness],
    calm: Callable[[], Steps[Likeness]] | None = None,
    tolerance: float = TOLERANCE,
) -> str | None:
    """Say whether a result is less like the fixed image than the start.

    A good result may lose in one of the two measures, so both must have fallen. Interpolation
    smooths noise, which alone can make a result less like the fixed image. So the smoothed images
    must agree that it is worse.

    Parameters
    ----------
    similarity : Steps[Likeness]
        Likeness at the start and at the end.
    calm : callable, or None, default None
        Measures the likeness of the smoothed images; called only where the result looks worse.
    tolerance : float, default 0.005
        How far a measure may fall.

    Returns
    -------
    str or None
        A sentence if both measures fell by more than the tolerance, or are not finite; else None.
    """
    start, final = similarity.start, similarity.final
    names = ("local_correlation", "mutual_information")
    pairs = {name: (getattr(start, name), getattr(final, name)) for name in names}
    if not all(not after >= before - tolerance for before, after in pairs.values()):
        return None
    finite = all(np.isfinite(after) for _, after in pairs.values())
    if calm is not None and finite:
        smooth = calm()
        a, b = (getattr(smooth, step).local_correlation for step in ("start", "final"))
        if b >= a - 2 * tolerance:
            return None
    values = ", ".join(
        f"{name.replace('_', ' ')} {before:.3f} -> {after:.3f}"
        for name, (before, after) in pairs.items()
    )
    return f"the result is less like the fixed image than the start ({values})"
