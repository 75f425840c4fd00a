"""sacbnet demo"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pair and the result.")] = Path(
        "demo-out"
    ),
    seed: Annotated[int, typer.Option(help="Number that selects the head and the warp.")] = 0,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log: o.Log = None,
) -> None:
    """Make a pair of head phantoms with a known warp, register it, and compare with the truth."""
    from rich.console import Console
    from rich.table import Table

    from sacbnet.demo.run import run_demo
    from sacbnet.files import check_writable
    from sacbnet.reporting.console import progress_bar, registration_lines

    check_writable(out)
    with progress_bar(quiet, verbose=verbose, log=log) as progress:
        result, score = run_demo(out, seed, progress)
    if quiet:
        return
    console = Console(highlight=False)
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("Dice")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    for name, (before, after) in {**score.dice, "mean": score.mean_dice}.items():
        table.add_row(name, f"{before:.3f}", f"{after:.3f}", style="bold" if name == "mean" else "")
    console.print(table)
    before, after = score.error_mm
    console.print(
        f"error against the known warp, mean of the landmarks: {before:.2f} mm before,"
        f" {after:.2f} mm after"
    )
    for line in registration_lines(result.report):
        console.print(line)
    console.print(f"the pair is in {out / 'input'}, the result in {out}")
