"""Which pairs of a cohort stand out: the ones to look at first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .summary import Outcome

# column, and +1 where large values speak against a result
MEASURES = (
    ("local_correlation_final", -1),
    ("dice_final", -1),
    ("non_diffeomorphic_percent", 1),
)
_LEAST = 5  # pairs: of fewer no spread can be told
STANDS_OUT = 3.5  # robust standard deviations
_NORMAL = 1.4826  # the median absolute deviation of a normal distribution of spread 1, inverted


def oddness(rows: Sequence[Outcome]) -> list[float]:
    """Measure how far each pair lies on the bad side of the others.

    Parameters
    ----------
    rows : sequence of Outcome
        The pairs.

    Returns
    -------
    list of float
        For each pair the largest of its distances from the median of the cohort, in robust standard
        deviations (1.48 times the median absolute deviation), over local correlation, Dice and
        folding. 0 for a pair without a result, and for a pair that is better than the median.

    References
    ----------
    B. Iglewicz and D. Hoaglin, "How to Detect and Handle Outliers", ASQC 1993.
    """
    worst = np.zeros(len(rows))
    for column, sign in MEASURES:
        given = [getattr(row, column) for row in rows]
        values = np.array([np.nan if v is None else sign * v for v in given], dtype=float)
        known = values[np.isfinite(values)]
        if known.size < _LEAST:
            continue
        middle = np.median(known)
        spread = _NORMAL * float(np.median(np.abs(known - middle)))
        spread = max(spread, 1e-3 * abs(float(middle)), 1e-6)  # most of them equal
        worst = np.fmax(worst, (values - middle) / spread)
    return [float(x) for x in worst]


def by_urgency(rows: Sequence[Outcome]) -> list[tuple[Outcome, float]]:
    """Sort pairs so that those that need a look come first.

    Parameters
    ----------
    rows : sequence of Outcome
        The pairs.

    Returns
    -------
    list of (Outcome, float)
        Failed pairs, then those that stand out or whose verdict is not "good", then the others,
        each by how far they stand out (`oddness`), which is the number.
    """

    def key(item: tuple[Outcome, float]) -> tuple[int, float]:
        row, odd = item
        if row.status == "failed":
            return 0, 0.0
        return (1 if row.verdict != "good" or odd >= STANDS_OUT else 2), -odd

    return sorted(zip(rows, oddness(rows), strict=True), key=key)
