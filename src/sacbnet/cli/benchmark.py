"""sacbnet benchmark"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from . import options as o

EPILOG = o.epilog("""[bold]Examples[/bold]

sacbnet benchmark hippocampus --data Task04_Hippocampus --out runs/all

sacbnet benchmark my.toml --data LPBA40 --out runs/o --only syn

sacbnet benchmark my.toml --data LPBA40 --out runs/s --seeds 0,1 --steps 500

[bold]Files in the result folder[/bold]

table.md: means, and paired tests against the first method. summary.json: the same as numbers.

pairs.csv: a row for each method, seed and pair. labels.csv: the same for each label.

index.html: a page with the table, box plots, and pictures of the worst pairs of each method.

boxplots.png, and a folder with the training run of each network.

The same command continues an interrupted benchmark. If a method fails, table.md says why, the other
methods go on, and the exit code is 6.""")


@contextmanager
def _threads(number: int) -> Iterator[int]:
    """Set the number of torch's threads (0: leave it) for a while; yields the number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def benchmark(
    name: Annotated[
        str,
        typer.Argument(
            metavar="BENCHMARK",
            help="A TOML file, or the name of a benchmark that comes with sacbnet.",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="The data for training and scoring: a folder, a CSV or a Learn2Reg JSON."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder for the results. Results that it already holds are kept."),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Run this method only; the table shows all methods. May be repeated. Default: run"
            " all."
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            help="Largest number of pairs, evenly spread over all pairs. 0: all pairs.", min=0
        ),
    ] = 0,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Override an option of all trainings: section.option=value. May be repeated.",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds of the trainings, such as 0,1,2. Default: the seeds of the benchmark."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Number of steps of each training. Default: the number of the benchmark.", min=1
        ),
    ] = None,
    tools_python: Annotated[
        str | None,
        typer.Option(
            help="Python that has antspyx, picsl-greedy and itk-elastix. Default: the Python of"
            " sacbnet."
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            help="Number of threads, for other tools and for sacbnet on the CPU. 0: the number that"
            " torch chooses.",
            min=0,
        ),
    ] = 0,
    device: Annotated[
        str,
        typer.Option(
            help="Device of the networks: auto, cpu, cuda or cuda:N. Other tools run on the CPU."
        ),
    ] = "auto",
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log: o.Log = None,
) -> None:
    """Train, run and score methods side by side on the same pairs."""
    import shutil
    import sys
    from dataclasses import replace

    from sacbnet.benchmark.ledger import LABELS, METHODS, PAIRS
    from sacbnet.benchmark.plan import check_plan, find_plan, read_plan
    from sacbnet.benchmark.run import PAGE, PICTURES, PLOT, SUMMARY, TABLE, Setting
    from sacbnet.benchmark.run import benchmark as run
    from sacbnet.errors import InputError, RegistrationError
    from sacbnet.files import atomic_file, check_writable, keep_inputs
    from sacbnet.reporting.console import progress_bar
    from sacbnet.reporting.page.comparison import MOST, comparison_page
    from sacbnet.reporting.page.worst import Worst

    from .options import numbers

    plan = read_plan(find_plan(name))
    if steps is not None:
        plan = replace(plan, steps=steps)
    if (chosen := numbers("--seeds", seeds)) is not None:
        plan = replace(
            plan, seeds=chosen, methods=tuple(replace(m, seeds=()) for m in plan.methods)
        )
    if change:
        plan = replace(plan, changes=(*plan.changes, *change))
        check_plan(plan)
    python = shutil.which(tools_python or sys.executable)
    if python is None:
        raise InputError(f"--tools-python is {tools_python}; a Python that can be run was expected")
    written = [out / name for name in (PAIRS, LABELS, METHODS, SUMMARY, TABLE, PLOT, PAGE)]
    keep_inputs([*written, *filter(None, [log])], [data, name])
    check_writable(out)

    def say(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    with (
        _threads(threads) as taken,
        progress_bar(quiet, of_all=True, verbose=verbose, log=log) as progress,
    ):
        setting = Setting(data, out, device, str(Path(python).absolute()), taken, limit)
        worst = Worst(MOST, out / PICTURES)
        found = run(plan, setting, only or (), say, progress, watch=worst)
    with atomic_file(out / PAGE) as part:
        part.write_text(comparison_page(found, worst), encoding="utf-8")
    typer.echo(found.table)
    if found.signal:
        typer.echo(
            f"sacbnet: interrupted; the same command goes on. The results so far are in {out}",
            err=True,
        )
        raise SystemExit(128 + found.signal)
    if failed := {failure.method for failure in found.report.failed}:
        raise RegistrationError(
            f"{', '.join(sorted(failed))} failed, wholly or in part; {out / 'table.md'} says why"
        )
