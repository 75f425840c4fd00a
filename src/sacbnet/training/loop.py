"""Training: one visible loop. The other modules of this room hold its parts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sacbnet.config.recipe import Recipe
from sacbnet.data.pack import Pack
from sacbnet.errors import RegistrationError
from sacbnet.files import writing

from .checkpoint import State
from .loader import Loader
from .pairs import choose
from .session import Session
from .stop import Stop
from .team import Team


@dataclass(frozen=True)
class Outcome:
    """How a session of training ended.

    Parameters
    ----------
    state : State
        How far the run is.
    finished : bool
        Whether all steps are done.
    signal : int
        Number of the signal that ended the session, or 0.
    """

    state: State
    finished: bool
    signal: int


def train(
    recipe: Recipe,
    pack: Pack,
    out: Path,
    team: Team,
    *,
    max_minutes: float | None = None,
    since: float | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Train as a recipe says, or go on where an earlier session stopped.

    Training is exact: n steps at a stretch, or in any number of sessions, give the same weights to
    the bit on a CPU. A session stops with a checkpoint, in time for `max_minutes` or after SIGTERM,
    SIGINT or SIGUSR1. Where a file cannot be written, the session says so and tries again later. No
    global random state is changed.

    Parameters
    ----------
    recipe : Recipe
        The options.
    pack : Pack
        The packed set.
    out : Path
        The run folder.
    team : Team
        The processes that train together.
    max_minutes : float, optional
        Length of the session; None (default) means no limit.
    since : float, optional
        Time of ``time.monotonic()`` from which `max_minutes` counts; None (default) means now.
    say : callable, default print
        Is called with each line of the log.

    Returns
    -------
    Outcome
        How the session ended.

    Raises
    ------
    InputError
        For data that do not fit the recipe, or the run folder of another recipe or of other data.
    RegistrationError
        Where the loss or its gradient is not finite.
    OutputError
        Where the last checkpoint cannot be written; the one before stays.
    """
    if team.leads:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
    cuda = [team.device] if team.device.type == "cuda" else []
    with Stop(max_minutes, since) as stop, torch.random.fork_rng(cuda):
        torch.manual_seed(recipe.run.seed)
        run = Session(recipe, choose(recipe, pack), out, team, say)
        steps = recipe.run.steps
        try:
            while run.state.step < steps and not team.largest(stop.due(1.5 * run.state.longest)):
                start = time.monotonic()
                rate = recipe.optimiser.rate(run.state.step, steps)
                terms = descend(
                    run.objective, run.optimiser, run.loader, run.state.step, rate, team, recipe
                )
                run.state.step += 1
                run.add(terms)
                if run.due(recipe.run.log_every):
                    run.tell(rate)
                if run.due(recipe.run.validate_every):
                    run.validate()
                if run.due(recipe.run.checkpoint_every) or run.unsaved:
                    run.save()
                run.state.longest = max(run.state.longest, time.monotonic() - start)
            run.save(at_last=True)
        finally:
            run.close()
    return Outcome(run.state, run.state.step >= steps, stop.signal)


def descend(
    objective: nn.Module,
    optimiser: torch.optim.Optimizer,
    loader: Loader,
    step: int,
    rate: float,
    team: Team,
    recipe: Recipe,
) -> dict[str, float]:
    """Take one step of the optimiser over the team's batch.

    Parameters
    ----------
    objective : nn.Module
        The network with its loss.
    optimiser : torch.optim.Optimizer
        Adam or AdamW.
    loader : Loader
        The batches.
    step : int
        Number of the step, from 0.
    rate : float
        Learning rate.
    team : Team
        The processes that train together.
    recipe : Recipe
        The options: precision and largest norm of the gradient.

    Returns
    -------
    dict
        Means of the terms of the loss over the batch, and "gradient_norm".

    Raises
    ------
    RegistrationError
        Where a term or the norm is not finite; no weight has changed then.
    """
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    batches = loader.step(step)
    sums: dict[str, torch.Tensor] = {}
    for n, batch in enumerate(batches):
        last = n + 1 == len(batches)  # gradients travel once, with the last batch
        half = torch.autocast(
            team.device.type, torch.bfloat16, enabled=recipe.run.precision == "bfloat16"
        )
        alone = last or team.world == 1
        with nullcontext() if alone else objective.no_sync():  # type: ignore[operator]
            with half:
                terms = objective(batch, loader.data.labels)
            (terms["loss"] / len(batches)).backward()
        sums = {
            name: sums.get(name, 0.0) + term.detach() / len(batches) for name, term in terms.items()
        }
    norm = nn.utils.clip_grad_norm_(objective.parameters(), recipe.optimiser.clip or math.inf)
    sums["gradient_norm"] = norm  # the same one in every process
    values = dict(
        zip(sums, team.mean(torch.stack([x.float() for x in sums.values()])).tolist(), strict=True)
    )
    if not all(map(math.isfinite, values.values())):
        raise RegistrationError(
            f"the loss or its gradient is not finite at step {step + 1}; the last checkpoint is"
            " kept: lower optimiser.learning_rate, set optimiser.clip, or check the data"
        )
    optimiser.step()
    return values
