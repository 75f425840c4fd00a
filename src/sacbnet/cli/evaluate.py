"""sacbnet evaluate"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .register import Affine, Precision

if TYPE_CHECKING:
    from ..training.recipe import DataOptions


class Pairing(StrEnum):
    all = "all"
    cyclic = "cyclic"
    atlas = "atlas"
    listed = "listed"


EPILOG = """[bold]Examples[/bold]

sacbnet evaluate --weights runs/hippocampus --data Task04_Hippocampus --out scores (the validation pairs of its recipe)

sacbnet evaluate --weights runs/hippocampus --data Task04_Hippocampus --out scores-refined --refine 30

sacbnet evaluate --weights my.safetensors --data pairs.csv --pairs listed --affine affine --out scores

sacbnet evaluate --weights none --recipe lpba40 --data LPBA40 --out scores-refinement-alone

[bold]What comes out[/bold]: pairs.csv (a row per pair and method), labels.csv (a row per pair, method and label),
summary.json (mean, SD, 95% confidence interval, versions, weights)."""


def evaluate(
    data: Annotated[Path, typer.Option(help="Folder, CSV or Learn2Reg JSON.", rich_help_panel="Pairs")],
    out: Annotated[Path, typer.Option(help="Folder for the results.", rich_help_panel="Pairs")],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Whose validation pairs and labels are used; default: the recipe that the weights were trained by.",
            rich_help_panel="Pairs",
        ),
    ] = None,
    subset: Annotated[
        str | None, typer.Option(help="Cases, '160:200' or globs of names.", rich_help_panel="Pairs")
    ] = None,
    pairs: Annotated[
        Pairing | None, typer.Option(help="all, cyclic, atlas or listed.", rich_help_panel="Pairs")
    ] = None,
    atlas: Annotated[
        str | None, typer.Option(help="The moving case, for --pairs atlas.", rich_help_panel="Pairs")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels to score, '1,2'; default: all.", rich_help_panel="Pairs")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many pairs; 0: all.", min=0, rich_help_panel="Pairs")] = 0,
    weights: Annotated[
        str, typer.Option(help="A safetensors file, a training run, or none.", rich_help_panel="Method")
    ] = "none",
    affine: Annotated[Affine, typer.Option(help="Alignment before all else.", rich_help_panel="Method")] = Affine.none,
    refine: Annotated[
        int | None,
        typer.Option(help="Optimisation steps per level; default 60 without weights, 0 with.", min=0,
                     rich_help_panel="Method"),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend folds, as register does.", rich_help_panel="Method")
    ] = False,
    spacing: Annotated[
        float | None, typer.Option(help="Working resolution, mm; default: the weights'.", rich_help_panel="Method")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel="Method")] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Of the network's features.", rich_help_panel="Method")
    ] = Precision.float32,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:  # fmt: skip
    """Score weights, or refinement alone, on a list of pairs: Dice, HD95, folding, TRE, seconds, memory."""
    from dataclasses import replace

    from rich.console import Console

    from ..data.cases import pair_up, read_cases, select
    from ..errors import InputError
    from ..evaluate import evaluate as run
    from ..io.atomic import check_writable
    from ..pipeline import Options
    from ..report.scores import scores_table, write_scores
    from .show import progress_bar

    check_writable(out)
    chosen = _protocol(recipe, weights)
    given = {
        "validation": subset,
        "validation_pairs": pairs and pairs.value,
        "atlas": atlas,
        "labels": _numbers(labels),
    }
    chosen = replace(chosen, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    if data.suffix == ".pack":
        raise InputError(f"{data} is a pack, which is for training; give the images it was made of: they are scored")
    source = read_cases(data)
    which = select(source.cases, chosen.validation)
    list_of_pairs = pair_up(source.cases, which, chosen.validation_pairs, atlas=chosen.atlas, listed=source.pairs)
    options = Options(
        weights=weights, affine=affine.value, refine=refine, device=device, spacing=spacing, precision=precision.value
    )
    with progress_bar(quiet) as progress:
        found = run(source.cases, list_of_pairs[: limit or None], options, tuple(chosen.labels), repair, progress)
    write_scores(out, found)
    if not quiet:
        Console(highlight=False).print(scores_table(found.report))


def _protocol(recipe: str | None, weights: str) -> DataOptions:
    """The pairs of a recipe: the one named, else that of the weights, else all ordered pairs."""
    import json

    from ..models.weights import describe_weights
    from ..training.folder import find_recipe
    from ..training.recipe import DataOptions, read_recipe, recipe_from_dict

    if recipe is not None:
        return read_recipe(find_recipe(recipe)).data
    told = {} if weights == "none" else describe_weights(weights)
    if "recipe" in told:
        return recipe_from_dict(json.loads(told["recipe"])).data
    return DataOptions(validation_pairs="all")


def _numbers(text: str | None) -> tuple[int, ...] | None:
    from ..errors import InputError

    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InputError(f"--labels is {text!r}; whole numbers joined by commas were expected") from error
