"""Numbers over many cases or labels, summed up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import t


@dataclass(frozen=True)
class Summary:
    """mean, sd (n - 1 in the denominator), min and max of n finite values; ci95: where their mean lies with 95%
    confidence.

    left_out: how many were NaN or infinite, and have no part in the other numbers, which are NaN where too few are
    left: mean, min and max without any, sd and interval with fewer than two.
    """

    mean: float
    sd: float
    n: int
    ci95: tuple[float, float]
    min: float
    max: float
    left_out: int = 0


def summarise(values: Iterable[float]) -> Summary:
    """Of any numbers: the interval is Student's, mean ± t(0.975, n - 1) · sd / √n, as of independent normal values."""
    given = np.array(list(values), dtype=np.float64)
    finite = given[np.isfinite(given)]
    n, nan = len(finite), float("nan")
    mean = float(finite.mean()) if n else nan
    sd = float(finite.std(ddof=1)) if n > 1 else nan
    half = float(t.ppf(0.975, n - 1)) * sd / n**0.5 if n > 1 else nan
    low, high = (float(finite.min()), float(finite.max())) if n else (nan, nan)
    return Summary(mean, sd, n, (mean - half, mean + half), low, high, len(given) - n)
