"""What `sacbnet info` says of the folder of `evaluate`."""

from __future__ import annotations

import csv
import json
from math import isfinite
from pathlib import Path
from typing import Any

from sacbnet.errors import InputError
from sacbnet.evaluation.tables import PAIRS, SHOWN, SUMMARY

_WORST = 3  # pairs that are named
_BY = "dice_nearest"


def scores(folder: Path) -> dict[str, Any]:
    """Describe the scores of an evaluation.

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
        If the files are not those of an evaluation.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        weights, options = summary["weights"], summary["options"]
        found = {
            "kind": "scores of evaluate",
            "version": summary["environment"]["sacbnet"],
            "pairs": f"{summary['scored']} of {summary['pairs']} scored, {summary['failed']} failed"
            + ("; interrupted" if summary["incomplete"] else ""),
            "weights": "none" if weights is None else weights["name"],
            "preset": options["preset"],
        }
        for method, numbers in summary["summary"].items():
            for name, (title, how) in SHOWN.items():
                if (told := _told(numbers.get(name), how)) is not None:
                    found[f"{method}: {title}"] = told
        for n, row in enumerate(summary["errors"][:_WORST], 1):
            found[f"failed pair {n}"] = f"{row['moving']} -> {row['fixed']}: {row['error']}"
        worst = _worst(folder / PAIRS)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise InputError(
            f"{folder} is no whole folder of scores ({error!r:.100}); run sacbnet evaluate again"
        ) from error
    return found | ({"worst pairs by Dice": worst} if worst else {})


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
