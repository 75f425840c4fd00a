"""Training: one visible loop. What it is made of lies in `sacbnet.training`; what may be chosen, in its recipes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from sacbnet.config.comparison import LapIRNOptions
from sacbnet.config.network import NetworkOptions
from sacbnet.config.recipe import Recipe
from sacbnet.data.pack import Pack
from sacbnet.environment import environment, peak_memory_mb
from sacbnet.errors import InputError, OutputError, RegistrationError
from sacbnet.files import writing
from sacbnet.kernels.dispatch import kernels_for
from sacbnet.networks.registry import build
from sacbnet.networks.weights.catalogue import licence_notice
from sacbnet.networks.weights.info import WeightsInfo
from sacbnet.networks.weights.load import BEST, LAST, load_weights

from .checkpoint import State, load_checkpoint, save_checkpoint
from .folder import save_run_weights, write_run
from .loader import Data, Loader, choose
from .log import Log, NoLog
from .objective import Objective
from .stop import Stop
from .team import Team
from .validate import Scores, validate

GAIN = 0.005  # what a first validation's Dice must be above the identity's: less is no training


@dataclass(frozen=True)
class Outcome:
    """finished: whether all steps are done. signal: the number of the one that ended the session, or 0."""

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
    """Train as the recipe says, on a packed set, into the run folder `out`; goes on where an earlier session stopped.

    Exact: n steps at a stretch, or in any number of sessions, give the same weights to the bit on a CPU. Stops with a
    checkpoint, in time for max_minutes (counted from `since`, of time.monotonic(); None: now), or after SIGTERM, SIGINT
    or SIGUSR1. What cannot be written is told, and tried again later. No global random state is changed. Raises
    InputError for the folder of another recipe or data that do not fit, RegistrationError where the loss is not
    finite, OutputError where the last checkpoint cannot be written (the one before stays).
    """
    if team.leads:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
    cuda = [team.device] if team.device.type == "cuda" else []
    with Stop(max_minutes, since) as stop, torch.random.fork_rng(cuda):
        torch.manual_seed(recipe.run.seed)
        run = _Run(recipe, choose(recipe, pack), out, team, say)
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
    """One step of the optimiser over the team's batch; the means of the loss's terms, and the gradient's norm.

    Raises RegistrationError, before any weight is changed, where they are not finite.
    """
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    batches = loader.step(step)
    sums: dict[str, torch.Tensor] = {}
    for n, batch in enumerate(batches):
        last = n + 1 == len(batches)  # gradients travel once, with the last of them
        half = torch.autocast(
            team.device.type, torch.bfloat16, enabled=recipe.run.precision == "bfloat16"
        )
        with nullcontext() if last or team.world == 1 else objective.no_sync():  # type: ignore[operator]
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
            f"the loss or its gradient is not finite at step {step + 1}; the last checkpoint is kept: lower"
            " optimiser.learning_rate, set optimiser.clip, or check the data"
        )
    optimiser.step()
    return values


class _Run:
    """What a session of training holds, and what it does now and then."""

    def __init__(
        self, recipe: Recipe, data: Data, out: Path, team: Team, say: Callable[[str], None]
    ) -> None:
        self.recipe, self.data, self.out, self.team = recipe, data, out, team
        kernels = kernels_for(team.device)  # compiles them the first time
        self.network = build(recipe.model).to(team.device)
        o = recipe.optimiser
        self.optimiser: torch.optim.Optimizer = (
            torch.optim.AdamW(
                self.network.parameters(), o.learning_rate, weight_decay=o.weight_decay
            )
            if o.weight_decay
            else torch.optim.Adam(self.network.parameters(), o.learning_rate)
        )
        found = load_checkpoint(out, recipe, data.pack, self.network, self.optimiser)
        notice = None
        if found is None and recipe.run.start_from:
            notice = licence_notice(begin_from(recipe.run.start_from, self.network))
        self.state = found or State()
        self.saved = self.state.step if found else -1  # the step of the last checkpoint
        self.unsaved = False  # whether the last attempt failed
        self.objective = team.together(Objective(self.network, recipe.loss))
        self.loader = Loader(data, recipe, team)
        self.log = Log(out, self.state.step, say) if team.leads else NoLog()
        if notice:
            self.log.say(f"note: {notice}")
        self.began = time.monotonic() - self.state.seconds
        if found is None:
            self.state.baseline = self._scores(None)
        cases = [
            {case for pair in pairs for case in pair} for pairs in (data.training, data.validation)
        ]
        if shared := sorted(cases[0] & cases[1]):
            names = ", ".join(data.pack.names[n] for n in shared[:5])
            self.log.say(
                f"note: {len(shared)} cases are both trained on and validated ({names}): scores will flatter"
            )
        self.log.say(
            f"{recipe.name}: {len(data.training)} training and {len(data.validation)} validation pairs of "
            f"{'×'.join(map(str, data.shape))} voxels; {kernels} kernels, {team.world} × {team.device}; "
            f"step {self.state.step} of {recipe.run.steps}{_told('; before training', self.state.baseline)}"
        )

    def due(self, every: int) -> bool:
        return self.state.step % every == 0 or self.state.step == self.recipe.run.steps

    def add(self, terms: dict[str, float]) -> None:
        """Keep the terms for the next row; in the state, so that an interruption changes no row."""
        self.state.seconds = time.monotonic() - self.began
        sums = self.state.sums
        sums |= {name: sums.get(name, 0.0) + value for name, value in terms.items()}
        self.state.summed += 1

    def tell(self, rate: float) -> None:
        """A row of means since the last one, and a line."""
        s, steps = self.state, self.recipe.run.steps
        row = {name: value / s.summed for name, value in s.sums.items()}
        labelled = row.pop("labelled", 1.0)
        if "dice" in row and labelled < 1:  # its mean is over the pairs that have labels
            row["dice"] = row["dice"] / labelled if labelled else math.nan
        s.sums, s.summed = {}, 0
        self.log.row(s.step, {"seconds": s.seconds, "learning_rate": rate, **row})
        each = s.seconds / s.step
        told = f"step {s.step}/{steps}  loss {row['loss']:.4f}{_told('; best', s.best)}"
        self.log.say(f"{told}  {each:.2f} s a step, {_span(each * (steps - s.step))} left")

    def validate(self) -> None:
        """Score, keep the best, and say loudly where nothing has been learnt."""
        s = self.state
        if not self.data.validation:
            return
        scores = self._scores(self.network)
        self.log.row(
            s.step,
            {"seconds": s.seconds, **{f"validation_{name}": v for name, v in scores.items()}},
        )
        self.log.say(
            f"step {s.step}{_told('  validation', scores)}{_told('; before training', s.baseline)}"
        )
        if "dice" in scores:
            gained = scores["dice"] - s.baseline["dice"]
            if not s.best and gained < GAIN:
                s.warnings = [
                    f"at step {s.step} validation Dice is {scores['dice']:.4f}, that of the images untouched is"
                    f" {s.baseline['dice']:.4f}: {'worse than doing nothing' if gained < 0 else 'no gain yet'}. Check"
                    " the data (sacbnet data check), the learning rate and the smoothness weight"
                ]
                self.log.say(
                    "!" * 8 + " WARNING " + "!" * 8 + "\n" + s.warnings[-1] + "\n" + "!" * 25
                )
            elif s.warnings and gained >= GAIN:
                s.warnings = []
                self.log.say(f"step {s.step}  now better than the images untouched")
        if not s.best or _merit(scores) > _merit(s.best):
            s.best = {"step": s.step, **scores}
            if self.team.leads:
                self._tried(
                    lambda: save_run_weights(
                        self.out, BEST, self.recipe, s, self.network, self.data
                    )
                )

    def save(self, at_last: bool = False) -> None:
        """Checkpoint, last weights, run.json; by the process that leads. A failure is told, and is final at last."""
        if self.saved == self.state.step:
            return
        self.unsaved = self.team.leads and not self._tried(self._write, at_last)
        self.saved = self.saved if self.unsaved else self.state.step

    def _tried(self, action: Callable[[], object], at_last: bool = False) -> bool:
        try:
            action()
        except OutputError as error:
            if at_last:
                raise
            self.log.say(f"{error}; training goes on")
            return False
        return True

    def _write(self) -> None:
        save_run_weights(self.out, LAST, self.recipe, self.state, self.network, self.data)
        d = self.data
        counted = {
            "training_pairs": len(d.training),
            "validation_pairs": len(d.validation),
            "labels": list(d.labels),
        }
        facts = {
            "environment": environment(self.team.device, kernels_for(self.team.device)),
            "processes": self.team.world,
            "data": {"cases": len(d.pack)} | counted,
            "peak_memory_mb": peak_memory_mb(self.team.device),
        }
        write_run(self.out, self.recipe, self.state, facts)
        save_checkpoint(
            self.out, self.recipe, self.data.pack, self.state, self.network, self.optimiser
        )

    def close(self) -> None:
        self.loader.close()
        self.log.close()

    def _scores(self, network: nn.Module | None) -> Scores:
        d, r = self.data, self.recipe
        if not d.validation:
            return {}
        self.network.eval()
        scores, slices = validate(
            network,
            self.loader.validation,
            len(d.validation),
            d.labels,
            r.loss,
            self.team,
            r.run.precision,
        )
        self.network.train()
        self.log.picture(self.state.step, slices)
        return scores


def begin_from(weights: str, network: nn.Module) -> WeightsInfo:
    """Put the parameters of weights into the network; their metadata. InputError if they are of another configuration.

    Numbers of clusters and rounds may differ: no parameter belongs to them. A LapIRN may begin from one of fewer
    levels, since it is trained level by level; the further ones then begin at random.
    """
    found, info = load_weights(weights)
    mine, theirs = (net.state_dict() for net in (network, found))
    shapes, given = ({n: p.shape for n, p in state.items()} for state in (mine, theirs))
    ours, other = (cast(NetworkOptions, net.config) for net in (network, found))
    grows = isinstance(ours, LapIRNOptions) and isinstance(other, LapIRNOptions)
    if given != ({n: shape for n, shape in shapes.items() if n in given} if grows else shapes):
        a, b = ({"architecture": o.architecture} | o.to_dict() for o in (ours, other))
        differ = ", ".join(
            f"{name} is {a[name]}, there {b.get(name)}" for name in a if a[name] != b.get(name)
        )
        raise InputError(
            f"run.start_from names weights of another network (model.{differ}); set the options to theirs"
        )
    network.load_state_dict(theirs, strict=not grows)
    return info


def _merit(scores: Scores) -> float:
    return scores["dice"] if "dice" in scores else -scores["loss"]


def _told(what: str, scores: Scores) -> str:
    if not scores:
        return ""
    name = "dice" if "dice" in scores else "loss"
    return f"{what} {name.capitalize()} {scores[name]:.4f}"


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
