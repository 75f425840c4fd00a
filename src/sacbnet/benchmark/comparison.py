"""Methods compared on the same pairs: means, paired tests against the first method, and the table.

Where a method was trained from several seeds, the number of a pair is the mean over the seeds: a
seed is not a further pair.

References
----------
Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1945. Holm, "A simple
sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from sacbnet.evaluation.scoring import OF_A_PAIR, Row
from sacbnet.evaluation.statistics import Summary, summarise

from .facts import MethodFacts

Pair = tuple[str, str]
TESTED = ("dice_nearest", "dice_onehot", "hd95_mm", "tre_mm")
SHOWN = {
    "dice_nearest": ("Dice, nearest", "{:.4f}"),
    "dice_onehot": ("Dice, one-hot", "{:.4f}"),
    "hd95_mm": ("HD95 mm", "{:.3f}"),
    "tre_mm": ("TRE mm", "{:.3f}"),
    "folded_percent": ("folded %", "{:.4f}"),
    "non_diffeomorphic_percent": ("non-diffeomorphic % (largest)", "{:.4f}"),
    "sd_log_jacobian": ("SD log J", "{:.3f}"),
    "seconds": ("s", "{:.2f}"),
    "peak_memory_mb": ("MiB", "{:.0f}"),
}


@dataclass(frozen=True)
class Difference:
    """Difference of a method from the first method, over the pairs that both have scores of.

    Parameters
    ----------
    mean : Summary
        Of the differences of the pairs; the 95% interval is Student's.
    p : float
        p-value of Wilcoxon's signed-rank test, two-sided.
    p_holm : float, default NaN
        The same, corrected for the number of methods (`holm`).
    """

    mean: Summary
    p: float
    p_holm: float = float("nan")


@dataclass(frozen=True)
class Standing:
    """Results of one method.

    Parameters
    ----------
    method : str
        Its name.
    pairs : int
        Number of pairs that it has scores of.
    numbers : mapping of str to Summary
        Each number of `OF_A_PAIR` over these pairs.
    by_seed : mapping of str to float
        For each seed, the mean of the first number of `TESTED` that there is.
    against_first : mapping of str to Difference
        Each number of `TESTED`; empty for the first method.
    """

    method: str
    pairs: int
    numbers: Mapping[str, Summary]
    by_seed: Mapping[str, float]
    against_first: Mapping[str, Difference]

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, as summary.json holds them.

        Returns
        -------
        dict
            The fields; summaries and differences are dictionaries, too.
        """
        return asdict(self)


def compare(rows: Sequence[Row], methods: Sequence[str]) -> tuple[Standing, ...]:
    """Compare methods with the first of them.

    Parameters
    ----------
    rows : sequence of Row
        Rows of pairs, of any methods and seeds, with the numbers of `scoring.OF_A_PAIR`.
    methods : sequence of str
        Names of the methods. The first is the reference; without rows of it nothing is tested.

    Returns
    -------
    tuple of Standing
        The methods that have rows, in the order of ``methods``.
    """
    values = {name: over_seeds(rows, name, methods) for name in OF_A_PAIR}
    present = [method for method in methods if any(row["method"] == method for row in rows)]
    against: dict[str, dict[str, Difference]] = {method: {} for method in present}
    for name in TESTED:
        first = values[name].get(methods[0], {})
        found = {m: difference(first, values[name].get(m, {})) for m in present if m != methods[0]}
        corrected = holm([d.p for d in found.values() if d is not None])
        for method, d in found.items():
            if d is not None:
                against[method][name] = Difference(d.mean, d.p, corrected.pop(0))
    out = []
    for method in present:
        mine = [row for row in rows if row["method"] == method]
        numbers = {
            name: summarise(v[method].values()) for name, v in values.items() if v.get(method)
        }
        pairs = len({(row["moving"], row["fixed"]) for row in mine})
        out.append(Standing(method, pairs, numbers, _by_seed(mine), against[method]))
    return tuple(out)


def over_seeds(
    rows: Sequence[Row], name: str, methods: Sequence[str]
) -> dict[str, dict[Pair, float]]:
    """Collect a number by method and pair, as the mean over the seeds.

    Parameters
    ----------
    rows : sequence of Row
        Rows of pairs or of one label.
    name : str
        Column of the number.
    methods : sequence of str
        Methods to collect.

    Returns
    -------
    dict of str to dict of (str, str) to float
        By method, and by moving and fixed case; only where there is a number.
    """
    found: dict[str, dict[Pair, list[float]]] = {}
    for row in rows:
        if name in row and row["method"] in methods:
            found.setdefault(row["method"], {}).setdefault(
                (row["moving"], row["fixed"]), []
            ).append(row[name])
    return {m: {pair: float(np.mean(v)) for pair, v in pairs.items()} for m, pairs in found.items()}


def difference(first: Mapping[Pair, float], other: Mapping[Pair, float]) -> Difference | None:
    """Test whether a method differs from the first, over the pairs where both numbers are finite.

    Pairs with equal numbers get no rank (Wilcoxon's own rule). Where all are equal, p is 1.

    Parameters
    ----------
    first : mapping of (str, str) to float
        The first method's number for each pair.
    other : mapping of (str, str) to float
        The other method's.

    Returns
    -------
    Difference or None
        Of other - first; None where no pair has both.
    """
    both = [other[pair] - first[pair] for pair in first if pair in other]
    found = np.array([d for d in both if np.isfinite(d)])
    if not len(found):
        return None
    return Difference(summarise(found), float(wilcoxon(found).pvalue) if found.any() else 1.0)


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for their number.

    The k-th smallest of n is multiplied by n - k + 1. It then becomes at least as large as those
    before it, and at most 1.

    Parameters
    ----------
    p : sequence of float
        The p-values.

    Returns
    -------
    list of float
        The corrected p-values, in the same order.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    out, least = [0.0] * len(p), 0.0
    for rank, n in enumerate(sorted(range(len(p)), key=lambda n: p[n])):
        least = max(least, min(1.0, (len(p) - rank) * p[n]))
        out[n] = least
    return out


def table(standings: Sequence[Standing], facts: Mapping[str, MethodFacts], asked: int) -> str:
    """Write the table in Markdown: mean ± SD over the pairs, and the difference from the first.

    The difference is that of the first number of `TESTED` that there is.

    Parameters
    ----------
    standings : sequence of Standing
        The methods, the first of which is the reference.
    facts : mapping of str to MethodFacts
        By method; read are the parameters and the minutes of the training.
    asked : int
        Number of pairs of the benchmark. A method that has fewer shows both numbers.

    Returns
    -------
    str
        The table, without a final newline.
    """
    heads, rows = cells(standings, facts, asked)
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def cells(
    standings: Sequence[Standing], facts: Mapping[str, MethodFacts], asked: int
) -> tuple[list[str], list[list[str]]]:
    """Write the cells of the table.

    Parameters
    ----------
    standings, facts, asked
        As of `table`.

    Returns
    -------
    heads : list of str
        Names of the columns.
    rows : list of list of str
        A row for each method.
    """
    shown = [name for name in SHOWN if any(name in s.numbers for s in standings)]
    tested = next((name for name in TESTED if any(name in s.numbers for s in standings)), None)
    seeds = any(len(s.by_seed) > 1 for s in standings)
    short = SHOWN[tested][0] if tested else ""
    heads = ["method", "pairs", *(SHOWN[name][0] for name in shown), "parameters", "training min"]
    heads += [f"{short} by seed"] if seeds else []
    heads += [f"{short}: difference [95%]", "p (Holm)"] if tested else []
    rows = []
    for s in standings:
        mine = facts.get(s.method, MethodFacts())
        row = [s.method, str(s.pairs) if s.pairs == asked else f"{s.pairs} of {asked}"]
        row += [_mean(s.numbers.get(name), SHOWN[name][1]) + _largest(s, name) for name in shown]
        minutes = mine.training_minutes
        row += ["" if mine.parameters is None else f"{mine.parameters:,}"]
        row += ["" if minutes is None else f"{minutes:.1f}"]
        row += (
            [" ".join(f"{v:.4f}" for v in s.by_seed.values()) if len(s.by_seed) > 1 else ""]
            if seeds
            else []
        )
        row += _against(s.against_first.get(tested), SHOWN[tested][1]) if tested else []
        rows.append(row)
    return heads, rows


def _by_seed(rows: Sequence[Row]) -> dict[str, float]:
    name = next((name for name in TESTED if any(name in row for row in rows)), None)
    seeds = dict.fromkeys(row["seed"] for row in rows)
    return (
        {s: float(np.mean([r[name] for r in rows if r["seed"] == s and name in r])) for s in seeds}
        if name
        else {}
    )


def _mean(found: Summary | None, how: str) -> str:
    if found is None or not found.n:
        return ""
    return how.format(found.mean) + (f" ± {how.format(found.sd)}" if found.n > 1 else "")


def _largest(standing: Standing, name: str) -> str:
    """The worst pair's folding, with two digits: " (0)" means that no pair has any."""
    found = standing.numbers.get(name)
    return (
        f" ({found.max:.2g})" if name == "non_diffeomorphic_percent" and found and found.n else ""
    )


def _against(found: Difference | None, how: str) -> list[str]:
    if found is None:
        return ["", ""]
    signed = how.replace("{:", "{:+")
    low, high = (signed.format(x) for x in found.mean.ci95)
    interval = f" [{low}, {high}]" if found.mean.n > 1 else ""
    return [
        signed.format(found.mean.mean) + interval,
        f"{found.p_holm:.2g}" + ("" if found.p_holm >= 0.05 else " *"),
    ]
