"""sacbnet benchmark"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from . import options as o

EPILOG = """[bold]Examples[/bold]

sacbnet benchmark hippocampus --data Task04_Hippocampus --out runs/comparison --tools-python ENV/bin/python

sacbnet benchmark hippocampus --data Task04_Hippocampus --out runs/comparison --only voxelmorph --only syn

sacbnet benchmark my.toml --data LPBA40 --out runs/mine --seeds 0,1,2 --steps 500 --limit 20

[bold]What comes out[/bold]: table.md (means, paired tests against the first method), summary.json, pairs.csv (a row per
method, seed and pair), labels.csv, boxplots.png, and a training run for each network. Interrupted, the same command
goes on. A method that fails is told there, and the rest goes on; the exit code is then 6."""


@contextmanager
def _threads(number: int) -> Iterator[int]:
    """Within, torch takes so many threads (0: as it would), and the number is told; as it was afterwards."""
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
            metavar="BENCHMARK", help="A TOML file, or the name of one that comes with sacbnet."
        ),
    ],
    data: Annotated[
        Path, typer.Option(help="Folder, CSV or Learn2Reg JSON: what is trained on, and scored.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for all that comes out; what is in it is not done again.")
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run no more than this method; may be repeated. The table shows all."),
    ] = None,
    limit: Annotated[
        int, typer.Option(help="At most so many pairs, spread over all; 0: all.", min=0)
    ] = 0,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Override an option of every training: section.option=value. May be repeated.",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds of the trainings, '0,1,2'; instead of all that the benchmark names."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Of each training, instead of the benchmark's.", min=1)
    ] = None,
    tools_python: Annotated[
        str | None,
        typer.Option(help="Python that has antspyx, picsl-greedy, itk-elastix; default: this one."),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(help="Of the tools, and of ours on a CPU; 0: as many as torch takes.", min=0),
    ] = 0,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N; tools run on the CPU.")
    ] = "auto",
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log: o.Log = None,
) -> None:
    """Train, run and score methods side by side on the same pairs."""
    import shutil
    import sys
    from dataclasses import replace

    from sacbnet.benchmark.plan import check_plan, find_plan, read_plan
    from sacbnet.benchmark.run import Setting
    from sacbnet.benchmark.run import benchmark as run
    from sacbnet.errors import InputError, RegistrationError
    from sacbnet.files import check_writable
    from sacbnet.reporting.console import progress_bar

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
    check_writable(out)

    def say(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    with (
        _threads(threads) as taken,
        progress_bar(quiet, of_all=True, verbose=verbose, log=log) as progress,
    ):
        setting = Setting(data, out, device, str(Path(python).absolute()), taken, limit)
        found = run(plan, setting, only or (), say, progress)
    typer.echo(found.table)
    if found.signal:
        typer.echo(
            f"sacbnet: interrupted; the same command goes on, and what there is is in {out}",
            err=True,
        )
        raise SystemExit(128 + found.signal)
    if failed := {row["method"] for row in found.report["failed"]}:
        raise RegistrationError(
            f"{', '.join(sorted(failed))} failed, wholly or in part; {out / 'table.md'} tells why"
        )
