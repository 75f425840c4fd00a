"""The run folder: it describes itself, and `sacbnet register --weights RUN` takes it as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data.cases import read_cases
from ..data.pack import Pack, PackOptions, build_pack, open_pack
from ..errors import InputError
from ..io.atomic import atomic_file
from ..models.sacbnet import SACBNet
from ..models.weights import BEST, LAST, save_weights
from .checkpoint import State
from .recipe import Recipe

RECIPE, RUN, PACK = "recipe.toml", "run.json", "data.pack"


def open_data(recipe: Recipe, out: Path, leads: bool, wait: Callable[[], None], say: Callable[[str], None]) -> Pack:
    """The packed set that the recipe names: itself a pack, or packed now into the run folder (once; by one process)."""
    source = Path(recipe.data.source)
    if not recipe.data.source or not source.exists():
        raise InputError(
            f"the data {recipe.data.source or '(none)'} do not exist; give --data FOLDER, CSV, JSON or pack"
        )
    if source.is_file() and source.suffix.lower() not in (".csv", ".json"):
        return open_pack(source)
    target = out / PACK
    if leads and not target.exists():
        out.mkdir(parents=True, exist_ok=True)
        from ..data.check import check

        found = read_cases(source)
        o = recipe.data
        problems = [f for f in check(found.cases, found.pairs) if f.severity == "error"]
        if problems:
            raise InputError(f"{problems[0].case}: {problems[0].sentence} ({len(problems)} such; sacbnet data check)")
        say(f"packing {len(found.cases)} cases into {target}")
        options = PackOptions(o.spacing_mm or None, o.shape or None, o.align, o.bits)  # type: ignore[arg-type]
        build_pack(found.cases, target, options, pairs=found.pairs)
    wait()
    pack = open_pack(target)
    if leads and (changed := pack.changed_sources()):
        say(f"{len(changed)} files have changed since {target} was made, {changed[0]} first; remove it to pack anew")
    return pack


def find_recipe(name: str) -> Path:
    """The file that `name` means: itself, or a recipe that comes with the package. InputError lists those."""
    if Path(name).is_file():
        return Path(name)
    places = [Path(__file__).parents[1] / "recipes", Path(__file__).parents[3] / "recipes"]  # installed; a checkout
    known = {path.stem: path for place in places if place.is_dir() for path in sorted(place.glob("*.toml"))}
    if name not in known:
        raise InputError(f"the recipe {name!r} is no file, and none of {', '.join(known) or 'the package'}")
    return known[name]


def write_run(out: Path, recipe: Recipe, state: State, facts: dict[str, Any]) -> None:
    """recipe.toml and run.json, as they now are."""
    for name, text in (
        (RECIPE, recipe.to_toml()),
        (RUN, json.dumps({"format_version": 1, **facts, "state": vars(state), "recipe": recipe.to_dict()}, indent=1)),
    ):
        with atomic_file(out / name) as path:
            path.write_text(text, encoding="utf-8")


def without_paths(recipe: Recipe) -> Recipe:
    """For weights, which travel: without the places of this machine, that are nobody else's business."""
    data = replace(recipe.data, source="")
    return replace(recipe, data=data, run=replace(recipe.run, start_from=Path(recipe.run.start_from).name))


def save_run_weights(out: Path, name: str, recipe: Recipe, state: State, network: SACBNet, pack: Pack) -> None:
    """Weights with all that they have to say of themselves."""
    sides = pack.spacing_mm
    metadata: dict[str, object] = {
        "licence": recipe.licence or "not stated; that of the data they were trained on may restrict their use",
        "trained_on": recipe.trained_on or f"{len(pack)} cases",
        "spacing_mm": f"{sides[0]:g}" if max(sides) - min(sides) < 1e-3 else ", ".join(f"{s:g}" for s in sides),
        "intensity": "[0, 1]: smallest value to 99.9th percentile (sacbnet.preprocess.to_unit)",
        "source": f"sacbnet train, recipe {recipe.name}",
        "name": recipe.name,
        "recipe": without_paths(recipe).to_dict(),
        "steps": state.step,
        "training_seconds": round(state.seconds),
        "baseline": state.baseline,
        "validation": state.best if name == BEST else {},
    }
    save_weights(out / name, network, metadata)


__all__ = ["BEST", "LAST", "PACK", "RECIPE", "RUN", "open_data", "save_run_weights", "write_run"]
