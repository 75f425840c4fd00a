"""A session of training: what it holds, and what it does every so many steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from sacbnet.config.recipe import Recipe
from sacbnet.environment import environment, peak_memory_mb
from sacbnet.errors import OutputError
from sacbnet.kernels.dispatch import kernels_for
from sacbnet.networks.registry import build
from sacbnet.networks.weights.catalogue import licence_notice
from sacbnet.networks.weights.load import BEST, LAST

from .checkpoint import State, load_checkpoint, save_checkpoint
from .folder import save_run_weights, write_run
from .loader import Loader
from .log import Log, NoLog
from .objective import Objective
from .pairs import Data
from .start import begin_from
from .team import Team
from .validate import Scores, validate

GAIN = 0.005  # Dice that the first validation must gain over the identity: less is no training


class Session:
    """One session of training: network, optimiser, batches, log and state.

    Parameters
    ----------
    recipe : Recipe
        The options.
    data : Data
        The packed set, its pairs and labels.
    out : Path
        The run folder. A checkpoint in it is loaded.
    team : Team
        The processes that train together.
    say : callable
        Is called with each line of the log.

    Raises
    ------
    InputError
        For the run folder of another recipe or of other data, or weights to begin with that do not
        fit.
    """

    def __init__(
        self, recipe: Recipe, data: Data, out: Path, team: Team, say: Callable[[str], None]
    ) -> None:
        self.recipe, self.data, self.out, self.team = recipe, data, out, team
        kernels = kernels_for(team.device)
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
        self._introduce(f"{kernels} kernels")

    def _introduce(self, kernels: str) -> None:
        """Say on what the run trains, and where it begins."""
        d, s, team = self.data, self.state, self.team
        trained, scored = (
            {n for pair in pairs for n in pair} for pairs in (d.training, d.validation)
        )
        if shared := sorted(trained & scored):
            names = ", ".join(d.pack.names[n] for n in shared[:5])
            self.log.say(
                f"note: {len(shared)} cases are both trained on and validated ({names}): scores"
                " will be too good"
            )
        self.log.say(
            f"{self.recipe.name}: {len(d.training)} training and {len(d.validation)} validation"
            f" pairs of {'×'.join(map(str, d.shape))} voxels; {kernels}, {team.world} ×"
            f" {team.device}; step {s.step} of {self.recipe.run.steps}"
            f"{_told('; before training', s.baseline)}"
        )

    def due(self, every: int) -> bool:
        """Tell whether something that happens every so many steps is due.

        Parameters
        ----------
        every : int
            Number of steps between; it happens at the last step as well.

        Returns
        -------
        bool
            Whether it is due after the step just done.
        """
        return self.state.step % every == 0 or self.state.step == self.recipe.run.steps

    def add(self, terms: dict[str, float]) -> None:
        """Keep the terms of a step for the next row.

        They are kept in the state, so that an interruption changes no row.

        Parameters
        ----------
        terms : dict
            Name -> value, as of `descend`.
        """
        self.state.seconds = time.monotonic() - self.began
        sums = self.state.sums
        sums |= {name: sums.get(name, 0.0) + value for name, value in terms.items()}
        self.state.summed += 1

    def tell(self, rate: float) -> None:
        """Write a row with the means since the last row, and a line.

        Parameters
        ----------
        rate : float
            Learning rate of the step.
        """
        s, steps = self.state, self.recipe.run.steps
        row = {name: value / s.summed for name, value in s.sums.items()}
        labelled = row.pop("labelled", 1.0)
        if "dice" in row and labelled < 1:  # its mean is over the pairs with labels
            row["dice"] = row["dice"] / labelled if labelled else math.nan
        s.sums, s.summed = {}, 0
        self.log.row(s.step, {"seconds": s.seconds, "learning_rate": rate, **row})
        each = s.seconds / s.step
        told = f"step {s.step}/{steps}  loss {row['loss']:.4f}{_told('; best', s.best)}"
        self.log.say(f"{told}  {each:.2f} s a step, {_span(each * (steps - s.step))} left")

    def validate(self) -> None:
        """Score the network, keep the best weights, and warn where nothing has been learnt.

        Raises
        ------
        InputError
            For images or labels that the loss does not take.
        """
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
                    f"at step {s.step} validation Dice is {scores['dice']:.4f}, that of the images"
                    f" untouched is {s.baseline['dice']:.4f}: {_verdict(gained)}. Check the data"
                    " (sacbnet data check), the learning rate and the smoothness weight"
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
        """Write checkpoint, last weights and run.json, in the process that leads.

        Parameters
        ----------
        at_last : bool, default False
            Whether it is the last attempt. Other failures are said, and training goes on.

        Raises
        ------
        OutputError
            Where the last attempt fails.
        """
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
        """End the thread of the batches, and close the log."""
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


def _verdict(gained: float) -> str:
    return "worse than doing nothing" if gained < 0 else "no gain yet"


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
