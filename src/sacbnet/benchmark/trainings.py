"""The trainings of a benchmark: one run folder for each method, seed and stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sacbnet.config.recipe import Recipe, read_recipe, same_training
from sacbnet.errors import InputError
from sacbnet.kernels.dispatch import pick_device
from sacbnet.networks.weights.catalogue import lasting
from sacbnet.networks.weights.load import BEST, LAST
from sacbnet.training.folder import RECIPE, RUN
from sacbnet.training.loop import train
from sacbnet.training.source import open_data, with_source
from sacbnet.training.team import Team

from .facts import Facts
from .method import Method
from .plan import Plan

# options of a recipe that change no score
NOT_DEFINING = (
    "run.device",
    "data.source",
    "run.start_from",
    "run.checkpoint_every",
    "run.log_every",
)


class Stopped(Exception):
    """A signal stopped a training.

    Parameters
    ----------
    signal : int
        Number of the signal.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


@dataclass(frozen=True)
class Trainings:
    """The trainings of a benchmark, in its folder.

    Parameters
    ----------
    plan : Plan
        The benchmark.
    data : Path
        Images with labels or landmarks; no pack.
    out : Path
        Folder of the benchmark.
    device : str
        Device of the trainings.
    say : callable (str)
        Called with a line about each step.
    """

    plan: Plan
    data: Path
    out: Path
    device: str
    say: Callable[[str], None]

    def definition(self, method: Method) -> dict[str, Any]:
        """Collect the options of a method's training on which its scores depend.

        Parameters
        ----------
        method : Method
            A method of the benchmark.

        Returns
        -------
        dict
            By stage, the options of the recipe; empty for a method that is not trained.

        Raises
        ------
        InputError
            For a recipe that is not found or not valid.
        """
        trees = {}
        for n, recipe in enumerate(
            self.plan.recipes(method, 0) if method.train is not None else ()
        ):
            tree = recipe.to_dict()
            for place in NOT_DEFINING:
                section, _, option = place.partition(".")
                del tree[section][option]
            trees[f"stage {n + 1}"] = {k: v for k, v in tree.items() if isinstance(v, dict)}
        return trees

    def train(self, method: Method, seed: int) -> tuple[str, Facts]:
        """Train a method from a seed. A training that was stopped continues; a finished one stays.

        Parameters
        ----------
        method : Method
            A method that is trained.
        seed : int
            Seed of the training.

        Returns
        -------
        weights : str
            Path of the weights of the last stage.
        facts : Facts
            Steps and seconds of the training.

        Raises
        ------
        Stopped
            If a signal stops the training.
        InputError
            If the folder holds a training by another recipe, or data cannot be used.
        """
        team = Team(device=pick_device(self.device))
        base = self.out / method.slug / f"seed-{seed}"
        recipes = self.plan.recipes(method, seed)
        seconds, start = 0.0, ""
        for n, recipe in enumerate(recipes):
            folder = base / f"stage-{n + 1}" if len(recipes) > 1 else base
            recipe = with_source(recipe, self.data)
            if start:
                recipe = replace(recipe, run=replace(recipe.run, start_from=lasting(start)))
            if not _finished(folder, recipe):
                pack = open_data(recipe, self._place_of_pack(recipe, folder), team, self.say)
                outcome = train(recipe, pack, folder, team, say=self.say)
                if not outcome.finished:
                    raise Stopped(outcome.signal)
            seconds += _state(folder)["seconds"]
            start = str(folder / (LAST if self.plan.keep == "last" else BEST))
        steps = sum(recipe.run.steps for recipe in recipes)
        return start, Facts(steps=steps, training_seconds=round(seconds, 1))

    def _place_of_pack(self, recipe: Recipe, folder: Path) -> Path:
        """Where a training's pack lies. Trainings with the data of the first share its pack."""
        first = next(method for method in self.plan.methods if method.train is not None)
        usual = self.plan.recipes(first, 0)[0]
        same = (
            replace(recipe.data, source=usual.data.source) == usual.data
            and recipe.synthesis == usual.synthesis
        )
        return self.out if same else folder


def _state(folder: Path) -> dict[str, float]:
    """How far a training is, as its run.json says."""
    try:
        state = json.loads((folder / RUN).read_text(encoding="utf-8"))["state"]
        return {name: float(state[name]) for name in ("seconds", "step")}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{folder / RUN} is no account of a training ({error}); remove the folder to train anew"
        ) from error


def _finished(folder: Path, recipe: Recipe) -> bool:
    """Whether a training by this recipe has ended there.

    Raises an InputError if a training by another recipe has.
    """
    if not (folder / RUN).exists() or not (folder / RECIPE).exists():
        return False
    state = _state(folder)
    before = read_recipe(folder / RECIPE)
    differ = same_training(before, recipe) + (
        ["run.steps"] if before.run.steps != recipe.run.steps else []
    )
    if differ:
        raise InputError(
            f"{folder} was trained with another recipe ({', '.join(differ)} differ); choose another"
            " --out, or remove the folder"
        )
    return bool(state["step"] >= recipe.run.steps)
