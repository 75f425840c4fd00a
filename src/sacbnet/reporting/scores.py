"""What `sacbnet info` says of folders with scores: of `evaluate`, `benchmark` and `cohort`."""

from __future__ import annotations

import csv
import json
from math import isfinite
from pathlib import Path
from typing import Any

from sacbnet.errors import InputError
from sacbnet.evaluation.tables import PAGE, PAIRS, SHOWN, SUMMARY

from .trained import duration

_WORST = 3  # pairs that are named
_BY = "dice_nearest"


def scores(folder: Path) -> dict[str, Any]:
    """Describe the scores of an evaluation, of a benchmark, or the outcome of a cohort.

    Parameters
    ----------
    folder : Path
        A folder with summary.json and, as a rule, pairs.csv.

    Returns
    -------
    dict[str, Any]
        Facts by name: pairs, weights, mean ± SD of each number of each method, the worst pairs.

    Raises
    ------
    InputError
        If the files are not those of one of the three.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        if "benchmark" in summary:
            found = _benchmark(summary)
        elif "outcomes" in summary:
            found = _cohort(summary)
        else:
            found = _evaluation(summary)
            if worst := _worst(folder / PAIRS):
                found["worst pairs by Dice"] = worst
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise InputError(
            f"{folder} is no whole folder of scores ({error!r:.100}); run sacbnet evaluate again"
        ) from error
    page = folder / PAGE
    return found | ({"page": f"{page} (open it in a browser)"} if page.is_file() else {})


def _evaluation(summary: dict[str, Any]) -> dict[str, Any]:
    weights, options = summary["weights"], summary["options"]
    found = {
        "kind": "scores of evaluate",
        "version": summary["environment"]["sacbnet"],
        "pairs": f"{summary['scored']} of {summary['pairs']} scored, {summary['failed']} failed"
        + ("; interrupted" if summary["incomplete"] else ""),
        "weights": "none" if weights is None else weights["name"],
        "preset": options["preset"],
    }
    found |= _numbers(summary["summary"])
    for n, row in enumerate(summary["errors"][:_WORST], 1):
        found[f"failed pair {n}"] = f"{row['moving']} -> {row['fixed']}: {row['error']}"
    return found


def _benchmark(summary: dict[str, Any]) -> dict[str, Any]:
    plan, methods = summary["benchmark"], summary["methods"]
    found = {
        "kind": "benchmark",
        "name": plan["name"],
        "about": plan.get("about", ""),
        "version": summary["environment"]["sacbnet"],
        "pairs": f"{summary['pairs']}" + ("; not finished" if summary["incomplete"] else ""),
    }
    found |= _numbers({name: method["numbers"] for name, method in methods.items()})
    for n, row in enumerate(summary["failed"][:_WORST], 1):
        found[f"failed {n}"] = f"{row['method']}: {row['error']}"
    return {name: value for name, value in found.items() if value}


def _cohort(summary: dict[str, Any]) -> dict[str, Any]:
    rows, weights = summary["outcomes"], summary["weights"]
    left = summary["waiting"]
    states = {state: summary[state] for state in ("done", "skipped", "failed")}
    found = {
        "kind": "cohort",
        "version": summary["sacbnet"],
        "pairs": f"{summary['pairs']}: "
        + ", ".join(f"{n} {state}" for state, n in states.items())
        + (f", {left} not done yet" if left else ""),
        "weights": "none" if weights is None else weights["name"],
        "preset": summary["options"]["preset"],
    }
    if left and summary.get("expected_seconds"):
        found["the rest takes"] = f"about {duration(summary['expected_seconds'])}"
    words = [row["verdict"] for row in rows if row.get("verdict")]
    counts = {word: words.count(word) for word in ("good", "check", "failed") if word in words}
    found["verdicts"] = ", ".join(f"{n} {word}" for word, n in counts.items())
    look = [row for row in rows if row.get("verdict") in ("check", "failed")][:_WORST]
    for n, row in enumerate(look, 1):
        found[f"look at {n}"] = f"{row['name']}: {row['verdict']}: {row['reasons']}"
    for n, row in enumerate([row for row in rows if row["status"] == "failed"][:_WORST], 1):
        found[f"failed pair {n}"] = f"{row['name']}: {row['error']}"
    return {name: value for name, value in found.items() if value}


def _numbers(methods: dict[str, Any]) -> dict[str, str]:
    """Mean ± SD of each number of each method."""
    return {
        f"{method}: {title}": told
        for method, numbers in methods.items()
        for name, (title, how) in SHOWN.items()
        if (told := _told(numbers.get(name), how)) is not None
    }


def _told(numbers: dict[str, Any] | None, how: str) -> str | None:
    """Mean and standard deviation; None where there is no finite number."""
    if numbers is None or numbers["mean"] is None:
        return None
    spread = "" if numbers["sd"] is None else f" ± {how.format(numbers['sd'])}"
    return f"{how.format(numbers['mean'])}{spread} (n = {numbers['n']})"


def _worst(file: Path) -> str:
    """The pairs of the last method in the file with the smallest Dice, a line each."""
    if not file.is_file():
        return ""
    with file.open(newline="", encoding="utf-8") as text:
        rows = [row for row in csv.DictReader(text) if isfinite(float(row.get(_BY) or "nan"))]
    rows = [row for row in rows if row.get("method") == rows[-1].get("method")]
    rows.sort(key=lambda row: float(row[_BY]))
    return "\n".join(
        f"{row['moving']} -> {row['fixed']}: {float(row[_BY]):.4f}" for row in rows[:_WORST]
    )
