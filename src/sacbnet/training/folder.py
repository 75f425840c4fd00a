"""The run folder: it describes itself, and `sacbnet register --weights RUN` takes it as it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from sacbnet.config.recipe import Recipe
from sacbnet.config.toml import find_toml
from sacbnet.files import atomic_file
from sacbnet.networks.weights.load import BEST, save_weights

from .checkpoint import State
from .loader import Data

RECIPE, RUN = "recipe.toml", "run.json"


PLACES = (
    Path(__file__).parent / "recipes",
    Path(__file__).parents[3] / "recipes",
)  # installed; a checkout


def find_recipe(name: str) -> Path:
    """The file that `name` means: itself, or a recipe that comes with the package. InputError lists those."""
    run = Path(name) / RECIPE
    return run if run.is_file() else find_toml(name, "recipe", PLACES)


def write_run(out: Path, recipe: Recipe, state: State, facts: dict[str, Any]) -> None:
    """recipe.toml and run.json, as they now are."""
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
    """For weights, which travel: without the places of this machine, that are nobody else's business."""
    data = replace(recipe.data, source="")
    return replace(
        recipe, data=data, run=replace(recipe.run, start_from=Path(recipe.run.start_from).name)
    )


def save_run_weights(
    out: Path, name: str, recipe: Recipe, state: State, network: nn.Module, data: Data
) -> None:
    """Weights with all that they have to say of themselves."""
    metadata: dict[str, object] = {
        "licence": recipe.licence
        or "not stated; that of the data they were trained on may restrict their use",
        "restricted": recipe.restricted,
        "symmetric": recipe.symmetric,
        "mirrored": recipe.mirrored,
        "trained_on": recipe.trained_on
        or f"{len({n for pair in data.training for n in pair})} cases",
        "spacing_mm": f"{data.spacing_mm:g}",
        "intensity": "[0, 1]: smallest value to 99.9th percentile (sacbnet.imaging.intensities.to_unit)",
        "source": f"sacbnet train, recipe {recipe.name}",
        "name": recipe.name,
        "recipe": without_paths(recipe).to_dict(),
        "steps": state.step,
        "training_seconds": round(state.seconds),
        "baseline": state.baseline,
        "validation": state.best if name == BEST else {},
    }
    save_weights(out / name, network, metadata)
