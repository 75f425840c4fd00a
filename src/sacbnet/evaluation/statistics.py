"""Numbers over many cases or labels, summed up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import t


@dataclass(frozen=True)
class Summary:
    """Finite values, summed up.

    Parameters
    ----------
    mean, sd : float
        Mean; standard deviation with n - 1 in the denominator.
    n : int
        Number of finite values.
    ci95 : tuple[float, float]
        Interval in which the mean lies with 95% confidence.
    min, max : float
        Extremes.
    left_out : int, default 0
        Number of values that are NaN or infinite. They have no part in the other numbers.

    Notes
    -----
    Numbers for which too few values remain are NaN: mean and extremes without any value, SD and
    interval with fewer than two.
    """

    mean: float
    sd: float
    n: int
    ci95: tuple[float, float]
    min: float
    max: float
    left_out: int = 0


def summarise(values: Iterable[float]) -> Summary:
    """Sum up numbers.

    The interval is Student's, mean ± t(0.975, n - 1) · sd / √n, as for independent normal values.

    Parameters
    ----------
    values : Iterable[float]
        The numbers.

    Returns
    -------
    Summary
        Mean, SD, extremes and interval of the finite ones.
    """
    given = np.array(list(values), dtype=np.float64)
    finite = given[np.isfinite(given)]
    n, nan = len(finite), float("nan")
    mean = float(finite.mean()) if n else nan
    sd = float(finite.std(ddof=1)) if n > 1 else nan
    half = float(t.ppf(0.975, n - 1)) * sd / n**0.5 if n > 1 else nan
    low, high = (float(finite.min()), float(finite.max())) if n else (nan, nan)
    return Summary(mean, sd, n, (mean - half, mean + half), low, high, len(given) - n)
