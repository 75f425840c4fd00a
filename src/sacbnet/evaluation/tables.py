"""What an evaluation leaves: two tables, a summary, and the table on the screen."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sacbnet.files import Claim, staged_folder

if TYPE_CHECKING:
    from .run import Evaluation
    from .scoring import Row

PAIRS, LABELS, SUMMARY, PAGE = "pairs.csv", "labels.csv", "summary.json", "index.html"
FIRST = ("moving", "fixed", "method")
SHOWN = {
    "dice_nearest": ("Dice, nearest", "{:.4f}"),
    "dice_onehot": ("Dice, one-hot linear", "{:.4f}"),
    "hd95_mm": ("HD95 (mm)", "{:.3f}"),
    "hd95_left_out": ("labels without HD95", "{:.2f}"),
    "tre_mm": ("TRE (mm)", "{:.3f}"),
    "folded_percent": ("folded voxels (%)", "{:.4f}"),
    "non_diffeomorphic_percent": ("non-diffeomorphic volume (%)", "{:.4f}"),
    "sd_log_jacobian": ("SD log J", "{:.3f}"),
    "seconds": ("seconds a pair", "{:.2f}"),
    "peak_memory_mb": ("peak memory (MiB)", "{:.0f}"),
}


def write_scores(
    out: Path, found: Evaluation, claim: Claim | None = None, page: str | None = None
) -> None:
    """Write pairs.csv, labels.csv, summary.json and index.html, all or none.

    Parameters
    ----------
    out : Path
        The folder.
    found : Evaluation
        The scores.
    claim : Claim or None, default None
        Of summary.json, from the beginning of the evaluation: scores that another process wrote
        since stay. None: they are replaced.
    page : str or None, default None
        Text of index.html; None: there is none.

    Raises
    ------
    OutputError
        If a file cannot be written, or another process wrote scores since the claim.
    """
    check = None if claim is None else claim.check
    with staged_folder(out, (PAIRS, LABELS, SUMMARY, PAGE), check) as folder:
        _write(folder / PAIRS, found.pairs)
        if found.labels:
            _write(folder / LABELS, found.labels)
        if page is not None:
            (folder / PAGE).write_text(page, encoding="utf-8")
        (folder / SUMMARY).write_text(json.dumps(plain(found.report), indent=1), encoding="utf-8")


def scored_line(report: Mapping[str, Any], origin: str) -> str:
    """Say what was scored, and where the choice of pairs came from.

    Parameters
    ----------
    report : Mapping[str, Any]
        What summary.json holds.
    origin : str
        Where pairs and labels came from.

    Returns
    -------
    str
        A line such as "scored 138 of 138 labels, 15 pairs (pairs and labels from the data)".
    """
    there, missing = len(report["labels_scored"]), len(report["labels_missing"])
    labels = f"{there} of {there + missing} labels, " if there or missing else ""
    return f"scored {labels}{report['scored']} pairs (pairs and labels from {origin})"


def scores_table(report: Mapping[str, Any]) -> Table:
    """Tabulate mean ± SD of each number.

    Parameters
    ----------
    report : Mapping[str, Any]
        What summary.json holds.

    Returns
    -------
    Table
        A column per method.
    """
    methods = report["summary"]
    asked, scored, failed = (report[name] for name in ("pairs", "scored", "failed"))
    title = f"{scored if scored == asked else f'{scored} of {asked}'} pairs, mean ± SD"
    title += f"; {failed} failed" if failed else ""
    title += "; interrupted" if report["incomplete"] else ""
    table = Table(title=title, show_edge=False, pad_edge=False)
    table.add_column("")
    for method in methods:
        table.add_column(method, justify="right")
    for name, (title, how) in SHOWN.items():
        if any(name in numbers for numbers in methods.values()):
            table.add_row(title, *(_cell(numbers.get(name), how) for numbers in methods.values()))
    return table


def failures(report: Mapping[str, Any], most: int = 10) -> list[str]:
    """List the pairs that failed.

    Parameters
    ----------
    report : Mapping[str, Any]
        What summary.json holds.
    most : int, default 10
        Largest number of lines.

    Returns
    -------
    list[str]
        A line for each pair that failed; the last one counts the pairs beyond `most`.
    """
    lines = [
        f"{row['moving']} -> {row['fixed']}: {row['error']}" for row in report["errors"][:most]
    ]
    more = report["failed"] - len(lines)
    return lines + ([f"and {more} more, which {SUMMARY} tells"] if more else [])


def _cell(numbers: dict[str, Any] | None, how: str) -> str:
    if numbers is None or numbers["mean"] != numbers["mean"]:
        return ""
    spread = f" ± {how.format(numbers['sd'])}" if numbers["n"] > 1 else ""
    return how.format(numbers["mean"]) + spread


def _write(path: Path, rows: Sequence[Row]) -> None:
    found = dict.fromkeys(name for row in rows for name in row)
    # columns of all rows, because the row of a failed pair has few
    columns = sorted(found, key=lambda name: (name == "error", name not in FIRST))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(
            {k: f"{v:.7g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )


def plain(value: Any) -> Any:
    """Make numbers fit for JSON, which has no NaN.

    Parameters
    ----------
    value : Any
        Nested dicts, lists and numbers.

    Returns
    -------
    Any
        The same with None in place of NaN.
    """
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and value != value else value
