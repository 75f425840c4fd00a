"""The run folder: it describes itself, and `sacbnet register --weights RUN` reads it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from sacbnet.config.recipe import Recipe
from sacbnet.config.toml import find_toml
from sacbnet.files import atomic_file
from sacbnet.networks.weights.load import BEST, save_weights

from .checkpoint import State
from .pairs import Data

RECIPE, RUN = "recipe.toml", "run.json"
# of an installed package; of a checkout
PLACES = (Path(__file__).parent / "recipes", Path(__file__).parents[3] / "recipes")


def find_recipe(name: str) -> Path:
    """Find a recipe by name.

    Parameters
    ----------
    name : str
        Path of a TOML file, the folder of a training run, or the name of a recipe that comes with
        the package.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        Where there is no such recipe; the message lists the names that are known.
    """
    run = Path(name) / RECIPE
    return run if os.path.isfile(run) else find_toml(name, "recipe", PLACES)


def write_run(out: Path, recipe: Recipe, state: State, facts: dict[str, Any]) -> None:
    """Write recipe.toml and run.json, as the run now stands.

    Parameters
    ----------
    out : Path
        The run folder.
    recipe : Recipe
        The options.
    state : State
        How far the run is.
    facts : dict
        What else run.json holds.

    Raises
    ------
    OutputError
        Where a file cannot be written.
    """
    for name, text in (
        (RECIPE, recipe.to_toml()),
        (
            RUN,
            json.dumps(
                {"format_version": 1, **facts, "state": vars(state), "recipe": recipe.to_dict()},
                indent=1,
            ),
        ),
    ):
        with atomic_file(out / name) as path:
            path.write_text(text, encoding="utf-8")


def without_paths(recipe: Recipe) -> Recipe:
    """Remove the paths of this machine from a recipe that goes into weights.

    Parameters
    ----------
    recipe : Recipe
        The options.

    Returns
    -------
    Recipe
        The same without data.source, and with the last part of run.start_from alone.
    """
    data = replace(recipe.data, source="")
    return replace(
        recipe, data=data, run=replace(recipe.run, start_from=Path(recipe.run.start_from).name)
    )


def save_run_weights(
    out: Path, name: str, recipe: Recipe, state: State, network: nn.Module, data: Data
) -> None:
    """Write weights together with their description.

    Parameters
    ----------
    out : Path
        The run folder.
    name : str
        Name of the file.
    recipe : Recipe
        The options.
    state : State
        How far the run is.
    network : nn.Module
        The network.
    data : Data
        The packed set, its pairs and labels.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    metadata: dict[str, object] = {
        "licence": recipe.licence
        or "not stated; that of the data they were trained on may restrict their use",
        "restricted": recipe.restricted,
        "symmetric": recipe.symmetric,
        "mirrored": recipe.mirrored,
        "affine": recipe.affine,
        # pairs of a synthesis are drawn in boxes of many sizes, all others in their whole grid
        "box": "whole" if recipe.synthesis is None else "foreground",
        "trained_on": recipe.trained_on
        or f"{len({n for pair in data.training for n in pair})} cases",
        "spacing_mm": f"{data.spacing_mm:g}",
        "intensity": "[0, 1]: smallest value to 99.9th percentile"
        " (sacbnet.imaging.intensities.to_unit)",
        "source": f"sacbnet train, recipe {recipe.name}",
        "name": recipe.name,
        "recipe": without_paths(recipe).to_dict(),
        "steps": state.step,
        "training_seconds": round(state.seconds),
        "baseline": state.baseline,
        "validation": state.best if name == BEST else {},
    }
    save_weights(out / name, network, metadata)
