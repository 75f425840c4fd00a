"""sacbnet train"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o

if TYPE_CHECKING:
    from sacbnet.training.loop import Outcome

EPILOG = o.epilog("""[bold]Examples[/bold]

sacbnet train hippocampus --data Task04_Hippocampus --out runs/hippocampus

sacbnet train my.toml --data LPBA40 --out runs/lpba40 --max-minutes 55

sacbnet train hippocampus --data set.pack --out runs/short --set run.steps=300

torchrun --nproc-per-node 4 -m sacbnet train lpba40 --data LPBA40 --out runs/b

[bold]Files in the run folder[/bold]

best.safetensors (the best validation Dice), last.safetensors: weights for sacbnet register
--weights, which also takes the folder itself.

checkpoint.pt: the state of the training. The same command continues a stopped run from it.

recipe.toml, run.json, metrics.csv: the options, the account of the run, the curves. tensorboard/ is
written if tensorboard is installed.""")


def train(
    recipe: Annotated[
        str, typer.Argument(help="A TOML file, or the name of a recipe that comes with sacbnet.")
    ],
    out: Annotated[
        Path, typer.Option(help="The run folder. If it holds a stopped run, that run continues.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="The data: a folder, CSV, Learn2Reg JSON or pack. Default: data.source of the"
            " recipe."
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Override an option of the recipe: section.option=value. May be repeated."
        ),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(help="Stop with a checkpoint within this time. Default: no limit.", min=0.0),
    ] = None,
    quiet: o.Quiet = False,
) -> None:
    """Train a network by a recipe; the same command continues a stopped run exactly."""
    import sys
    import time
    from contextlib import ExitStack

    start = time.monotonic()

    from sacbnet.config.recipe import read_recipe
    from sacbnet.errors import InputError
    from sacbnet.kernels.dispatch import pick_device
    from sacbnet.training.folder import find_recipe
    from sacbnet.training.loader import check_batch
    from sacbnet.training.loop import train as run
    from sacbnet.training.source import alone_in, open_data, with_source
    from sacbnet.training.team import join_team

    chosen = with_source(read_recipe(find_recipe(recipe)).with_changes(change or []), data)

    def say(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    if data is not None and not os.path.exists(data):
        raise InputError(f"the data {data} do not exist; give --data a folder, CSV, JSON or pack")
    with ExitStack() as stack:
        team = stack.enter_context(join_team(pick_device(chosen.run.device)))
        check_batch(chosen, team.world)
        team.lead(lambda: stack.enter_context(alone_in(out)))
        try:
            pack = open_data(chosen, out, team, say)
            outcome = run(chosen, pack, out, team, max_minutes=max_minutes, since=start, say=say)
        except KeyboardInterrupt:
            say(
                "interrupted at once; the same command goes on from the last checkpoint, if there"
                " is one"
            )
            raise SystemExit(130) from None
        if team.leads:
            say(_summary(outcome, out, chosen.run.steps))
    if outcome.signal and not outcome.finished:
        raise SystemExit(128 + outcome.signal)  # the code that a shell gives for a signal


def _summary(outcome: Outcome, out: Path, steps: int) -> str:
    state = outcome.state
    if not outcome.finished:
        return f"stopped at step {state.step} of {steps}; the same command goes on from there"
    best = state.best.get("dice", state.best.get("loss"))
    score = "" if best is None else f"; best validation {best:.4f} at step {state.best['step']:g}"
    return (
        f"finished: {steps} steps in {state.seconds / 60:.1f} min{score};"
        f" sacbnet register --weights {out}"
    )
