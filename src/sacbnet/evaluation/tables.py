"""What an evaluation leaves: two tables, a summary, and the table that is printed."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sacbnet.files import staged_folder

if TYPE_CHECKING:
    from .run import Evaluation
    from .scoring import Row

PAIRS, LABELS, SUMMARY = "pairs.csv", "labels.csv", "summary.json"
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


def write_scores(out: Path, found: Evaluation) -> None:
    """pairs.csv, labels.csv and summary.json in the folder `out`, all or none. OutputError where they cannot be."""
    with staged_folder(out, (PAIRS, LABELS, SUMMARY)) as folder:
        _write(folder / PAIRS, found.pairs)
        if found.labels:
            _write(folder / LABELS, found.labels)
        (folder / SUMMARY).write_text(json.dumps(plain(found.report), indent=1), encoding="utf-8")


def scores_table(report: dict[str, Any]) -> Table:
    """Mean ± SD of each number, a column per method."""
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


def failures(report: dict[str, Any], most: int = 10) -> list[str]:
    """A line for each pair that failed, up to `most`."""
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
    columns = sorted(
        found, key=lambda name: (name == "error", name not in FIRST)
    )  # a first row that failed has few
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(
            {k: f"{v:.7g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )


def plain(value: Any) -> Any:
    """JSON has no NaN: null says it."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and value != value else value
