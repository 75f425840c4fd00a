from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from sacbnet.evaluation.statistics import summarise


def test_of_known_numbers():
    found = summarise([2.0, 4.0, 4.0, 6.0])
    assert (found.mean, found.n, found.left_out) == (4, 4, 0)
    assert found.sd == pytest.approx(math.sqrt(8 / 3))
    half = 3.182446 * found.sd / 2  # t(0.975, 3) of the tables
    assert found.ci95 == (pytest.approx(4 - half, rel=1e-6), pytest.approx(4 + half, rel=1e-6))


def test_the_interval_is_that_of_the_t_test():
    values = np.random.default_rng(0).normal(5, 2, 40)
    interval = ttest_1samp(values, 0).confidence_interval(0.95)
    assert summarise(values).ci95 == pytest.approx((interval.low, interval.high))


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = [
        s.ci95[0] <= 3 <= s.ci95[1] for s in (summarise(rng.normal(3, 1, 5)) for _ in range(2000))
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_what_is_not_finite_is_left_out_and_counted():
    nan, inf = float("nan"), float("inf")
    found = summarise([1.0, nan, 3.0, inf, -inf])
    assert (found.mean, found.n, found.left_out) == (2, 2, 3) and (found.min, found.max) == (1, 3)
    assert found.ci95 == summarise([1.0, 3.0]).ci95


def test_too_few_values():
    none, one = summarise([]), summarise(iter([7.0]))
    assert none.n == 0 and all(map(math.isnan, (none.mean, none.sd, none.max, *none.ci95)))
    assert one.n == 1 and one.mean == 7 and math.isnan(one.sd) and all(map(math.isnan, one.ci95))
