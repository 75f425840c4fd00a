"""Statistics of a comparison, checked by SciPy, statsmodels and by hand; table and picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel, wilcoxon

from sacbnet.benchmark.comparison import compare, difference, holm, over_seeds, table
from sacbnet.benchmark.facts import Failure, MethodFacts
from sacbnet.benchmark.plan import plan_from_dict
from sacbnet.benchmark.plots import _looks, boxplots
from sacbnet.benchmark.report import Report


def row(method, fixed, dice, seed="", **more):
    return {
        "method": method,
        "seed": seed,
        "moving": "m",
        "fixed": str(fixed),
        "dice_nearest": dice,
    } | more


def rows_of(method, values, seed="", **more):
    return [row(method, n, value, seed, **more) for n, value in enumerate(values)]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.6]) == [1, 1, 1] and holm([]) == [] and holm([0.02]) == [0.02]


def test_holm_is_that_of_statsmodels():
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    for seed in range(20):
        p = np.random.default_rng(seed).uniform(0, 0.3, 1 + seed).tolist()
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_a_difference_is_paired():
    """Small against the spread of the pairs, but the same in each: found only by a paired test."""
    rng = np.random.default_rng(0)
    a = rng.normal(0.7, 0.1, 30)
    b = a + rng.normal(0.01, 0.003, 30)
    first, other = ({("m", str(n)): float(v) for n, v in enumerate(x)} for x in (a, b))
    found = difference(first, dict(reversed(other.items())))
    assert found.p == pytest.approx(wilcoxon(b, a).pvalue) and found.p < 1e-6
    interval = ttest_rel(b, a).confidence_interval(0.95)
    assert found.mean.ci95 == pytest.approx((interval.low, interval.high)) and found.mean.n == 30
    swapped = difference(other, first)
    assert swapped.mean.mean == pytest.approx(-found.mean.mean) and swapped.p == pytest.approx(
        found.p
    )


def test_differences_over_the_pairs_that_both_have():
    first = {("m", "1"): 0.5, ("m", "2"): 0.6, ("m", "3"): float("nan")}
    found = difference(first, {("m", "2"): 0.7, ("m", "3"): 0.9, ("m", "4"): 0.1})
    assert found.mean.n == 1 and found.mean.mean == pytest.approx(0.1)
    assert difference(first, {("m", "4"): 0.1}) is None
    assert difference(first, first).p == 1  # no pair differs


def test_seeds_are_no_further_pairs():
    rows = (
        rows_of("a", [0.5, 0.6, 0.7])
        + rows_of("b", [0.6, 0.7, 0.8], "0")
        + rows_of("b", [0.7, 0.7, 0.8], "1")
    )
    assert over_seeds(rows, "dice_nearest", ["b"])["b"] == pytest.approx(
        {("m", "0"): 0.65, ("m", "1"): 0.7, ("m", "2"): 0.8}
    )
    a, b = compare(rows, ["a", "b"])
    assert b.pairs == 3 and b.numbers["dice_nearest"].n == 3
    assert b.numbers["dice_nearest"].mean == pytest.approx((0.65 + 0.7 + 0.8) / 3)
    assert b.by_seed == pytest.approx({"0": 0.7, "1": 2.2 / 3}) and a.by_seed == pytest.approx(
        {"": 0.6}
    )
    assert b.against_first["dice_nearest"].mean.mean == pytest.approx((0.15 + 0.1 + 0.1) / 3)


def test_each_is_held_against_the_first_of_the_plan():
    rng = np.random.default_rng(1)
    base = rng.uniform(0.5, 0.8, 20)
    rows = [
        *rows_of("far", base + 0.05 + rng.normal(0, 0.01, 20), hd95_mm=2.0),
        *rows_of("first", base, hd95_mm=3.0),
        *rows_of("near", base + rng.normal(0, 0.01, 20), hd95_mm=3.0),
    ]
    first, far, near = compare(rows, ["first", "far", "absent", "near"])
    assert [s.method for s in (first, far, near)] == [
        "first",
        "far",
        "near",
    ] and first.against_first == {}
    p = [s.against_first["dice_nearest"].p for s in (far, near)]
    assert [s.against_first["dice_nearest"].p_holm for s in (far, near)] == pytest.approx(holm(p))
    assert far.against_first["hd95_mm"].mean.mean == -1 and near.against_first["hd95_mm"].p == 1
    (alone,) = compare(rows_of("near", base), ["first", "near"])
    assert alone.against_first == {}  # there is nothing to hold it against


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table():
    rows = rows_of("ours", [0.7, 0.8, 0.9], "0", seconds=1.0) + rows_of(
        "ours", [0.7, 0.8, 0.9], "1", seconds=3.0
    )
    rows += rows_of("tool", [0.5, 0.7], seconds=10.0)
    told = table(
        compare(rows, ["ours", "tool"]),
        {"ours": MethodFacts(parameters=1234567, training_minutes=2.5)},
        3,
    )
    heads, _, ours, tool = (cells(line) for line in told.splitlines())
    ours, tool = (dict(zip(heads, line, strict=True)) for line in (ours, tool))
    assert (
        heads[:3] == ["method", "pairs", "Dice, nearest"]
        and "HD95 mm" not in heads
        and "TRE mm" not in heads
    )
    assert (
        ours["Dice, nearest"] == "0.8000 ± 0.1000"
        and ours["pairs"] == "3"
        and tool["pairs"] == "2 of 3"
    )
    assert (
        ours["s"] == "2.00 ± 0.00"
        and ours["parameters"] == "1,234,567"
        and ours["training min"] == "2.5"
    )
    assert ours["Dice, nearest by seed"] == "0.8000 0.8000" and tool["Dice, nearest by seed"] == ""
    assert ours["Dice, nearest: difference [95%]"] == "" and tool["parameters"] == ""
    # t(0.975, 1) of the tables
    mean, low, high = (-0.15, -0.15 - 12.7062 * 0.05, -0.15 + 12.7062 * 0.05)
    assert tool["Dice, nearest: difference [95%]"] == f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"
    assert tool["p (Holm)"] == "0.5"  # the least that two pairs can give


def test_the_worst_pair_tells_whether_anything_folds():
    rows = rows_of("none", [0.5, 0.6], non_diffeomorphic_percent=0.0)
    rows += [
        row("some", n, 0.5, non_diffeomorphic_percent=folded)
        for n, folded in enumerate((0.0, 0.00002))
    ]
    told = table(compare(rows, ["none", "some"]), {}, 2).splitlines()[2:]
    assert "| 0.0000 ± 0.0000 (0) |" in told[0] and "| 0.0000 ± 0.0000 (2e-05) |" in told[1]


def test_only_landmarks():
    rows = [
        {k: v for k, v in r.items() if k != "dice_nearest"}
        for r in rows_of("a", [0.0, 0.0], tre_mm=2.0)
    ]
    told = table(compare(rows, ["a"]), {}, 2)
    assert "TRE mm: difference" in told and "Dice" not in told and "2.000 ± 0.000" in told


def report(**more):
    """The report of a plan with three methods."""
    methods = [{"name": "a", "train": []}, *({"name": n, "weights": "none"} for n in "bc")]
    plan = plan_from_dict(
        {
            "name": "toy",
            "about": "A toy.",
            "recipe": "shapes",
            "steps": 5,
            "seeds": [0, 1],
            "keep": "last",
            "method": methods,
        }
    )
    where = {"device": "cpu", "threads": 1, "sacbnet": "0"}
    return Report(plan, where, "P", 1, **more)


def test_the_page_tells_what_failed_and_what_was_not_run():
    standings = compare(rows_of("a", [0.5], "0"), ["a", "b", "c"])
    failed = (Failure("b", "", "no tool", "x", "y"),)
    told = report(standings=standings, failed=failed, incomplete=True).page()
    assert (
        "- b, x -> y failed: no tool\n" in told
        and "- c: not run yet." in told
        and "Not finished" in told
    )
    assert "5 steps of recipe shapes, seeds 0, 1, last weights" in told and "A toy." in told
    assert "- b: not run" not in told and "Not finished" not in report().page()


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [
        r | {"label": str(n)}
        for n in range(1, 55)
        for r in rows_of("a", [0.1, 0.5]) + rows_of("b", [0.2, 0.9])
    ]
    assert boxplots(tmp_path / "b.png", rows, ["a", "b"], "title")
    content = (tmp_path / "b.png").read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 5_000
    width, height = (int.from_bytes(content[n : n + 4]) for n in (16, 20))
    assert 600 < width < 2500 and height > 2 * 2.2 * 130 * 0.9  # 54 structures in more than one row
    assert (
        not boxplots(tmp_path / "none.png", [], ["a"], "t") and not (tmp_path / "none.png").exists()
    )


def test_nan_stays_out(tmp_path):
    (a,) = compare(rows_of("a", [0.5, math.nan]), ["a"])
    assert a.numbers["dice_nearest"].n == 1 and a.numbers["dice_nearest"].left_out == 1


def test_no_two_methods_of_a_box_plot_look_the_same():
    pytest.importorskip("matplotlib")
    looks = _looks(30)
    assert len({(look["facecolor"], look["hatch"]) for look in looks}) == len(looks)
