"""What the verbs print: progress on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

STAGES = {
    "kernels": "kernels (compiled at the first run)",
    "affine": "affine alignment",
    "network": "network",
    "refine": "refinement",
    "transform": "composing the transform",
    "measure": "measuring",
    "inverse": "inverting",
    "resample": "resampling",
    "write": "writing",
}


@contextmanager
def progress_bar(quiet: bool, of_all: bool = False) -> Iterator[Callable[[str, float], None]]:
    """Yield a function (stage, fraction) that keeps a line on stderr up to date; silent where `quiet`, and in files.

    of_all: the fraction is that of all the work, the stage being what is at hand (the name of a case); otherwise each
    stage starts anew.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda stage, fraction: None
        return
    time = TimeRemainingColumn() if of_all else TimeElapsedColumn()
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), time)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=1.0 if of_all else None)
        now = ""

        def tell(stage: str, fraction: float) -> None:
            nonlocal now, task
            if of_all:
                bar.update(task, description=stage)
            elif stage != now:
                now = stage
                bar.remove_task(task)  # to reset it would keep the total of the stage before
                task = bar.add_task(
                    STAGES.get(stage, stage), total=1.0 if stage == "refine" else None
                )
            bar.update(task, completed=fraction)

        yield tell


def registration_table(report: dict[str, Any]) -> Table:
    """Start, affine and final: likeness, and Dice where labels were given."""
    table = Table(title=None, show_edge=False, pad_edge=False)
    table.add_column("")
    steps = ("start", "affine", "final")
    for step in steps:
        table.add_column(step, justify="right")
    rows = [
        (key.replace("_", " "), "similarity", key)
        for key in ("local_correlation", "mutual_information")
    ]
    if "dice" in report:
        rows += [("Dice, nearest", "dice", "nearest"), ("Dice, one-hot linear", "dice", "onehot")]
    for title, block, key in rows:
        table.add_row(title, *(f"{report[block][step][key]:.3f}" for step in steps))
    return table


def registration_lines(report: dict[str, Any]) -> list[str]:
    """The account of a run, in sentences."""
    folding, inverse = report["folding"], report["inverse"]
    lines = [
        f"folding: {folding['folded_voxels']} voxels, "
        f"non-diffeomorphic volume {folding['non_diffeomorphic_percent']:.4g} %",
        f"inverse: returns points within {inverse['round_trip_mean_mm']:.3f} mm on average",
        f"took {report['seconds']['total']:.1f} s, peak memory {report['peak_memory_mb'] / 1024:.1f} GiB",
    ]
    return lines + [f"note: {sentence}" for sentence in report["warnings"]]


def facts_table(facts: dict[str, Any]) -> Table:
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")  # paths and hashes whole
    for name, value in facts.items():
        table.add_row(name, str(value))
    return table
