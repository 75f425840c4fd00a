"""sacbnet evaluate"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sacbnet.config.choices import PAIRINGS

from .data import Align
from .register import Affine, Precision, Preset

if TYPE_CHECKING:
    from sacbnet.config.recipe import DataOptions


Pairing = StrEnum("Pairing", PAIRINGS)  # type: ignore[misc]


EPILOG = """[bold]Examples[/bold]

sacbnet evaluate --weights runs/hippocampus --data Task04_Hippocampus --out scores (the validation pairs of its recipe)

sacbnet evaluate --weights runs/hippocampus --data Task04_Hippocampus --out scores-refined --refine 30

sacbnet evaluate --weights my.safetensors --data pairs.csv --pairs listed --affine affine --out scores

sacbnet evaluate --weights none --recipe lpba40 --data LPBA40 --out scores-refinement-alone

[bold]What comes out[/bold]: pairs.csv (a row per pair and method), labels.csv (a row per pair, method and label),
summary.json (mean, SD, 95% confidence interval, versions, weights). A pair that fails is told there, and the rest
goes on; the exit code is then 6."""


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
    limit: Annotated[
        int, typer.Option(help="At most so many pairs, spread over all; 0: all.", min=0, rich_help_panel="Pairs")
    ] = 0,
    weights: Annotated[
        str, typer.Option(help="A name (see weights list), a file, a training run, or none.", rich_help_panel="Method")
    ] = "none",
    affine: Annotated[Affine, typer.Option(help="Alignment before all else.", rich_help_panel="Method")] = Affine.none,
    align: Annotated[
        Align | None,
        typer.Option(
            help="header: the images share a world; centre: bring the centres of their boxes together, without --affine"
            " only. Default: the recipe's.",
            rich_help_panel="Method",
        ),
    ] = None,
    preset: Annotated[
        Preset | None,
        typer.Option(help="As of register; default: fast with weights, balanced without.", rich_help_panel="Method"),
    ] = None,
    refine: Annotated[
        int | None,
        typer.Option(help="Optimisation steps per level at most, instead of the preset's.", min=0,
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
    from rich.console import Console

    from sacbnet.config.registration import Options
    from sacbnet.errors import RegistrationError
    from sacbnet.evaluation.run import evaluate as run
    from sacbnet.evaluation.scoring import pairs_to_score
    from sacbnet.evaluation.tables import failures, scores_table, write_scores
    from sacbnet.files import check_writable
    from sacbnet.networks.weights.catalogue import licence_notice
    from sacbnet.networks.weights.load import describe_weights
    from sacbnet.reporting.console import progress_bar

    check_writable(out)
    given: dict[str, Any] = {
        "validation": subset,
        "validation_pairs": pairs and pairs.value,
        "atlas": atlas,
        "labels": numbers("--labels", labels),
        "align": align and align.value,
    }
    told = {} if weights == "none" else describe_weights(weights)
    if not quiet and (notice := licence_notice(told)):
        typer.echo(f"sacbnet: {notice}", err=True)
    chosen = replace(
        _protocol(recipe, told), **{name: v for name, v in given.items() if v is not None}
    )
    cases, list_of_pairs = pairs_to_score(data, chosen, limit)
    options = Options(
        weights=weights,
        affine=affine.value,
        refine=refine,
        preset=preset.value if preset else "balanced" if weights == "none" else "fast",
        device=device,
        spacing=spacing,
        precision=precision.value,
    )
    with progress_bar(quiet) as progress:
        found = run(cases, list_of_pairs, options, chosen.labels, repair, progress, chosen.align)
    write_scores(out, found)
    if not quiet:
        Console(highlight=False).print(scores_table(found.report))
    for line in failures(found.report):
        typer.echo(f"sacbnet: {line}", err=True)
    if found.report["incomplete"]:
        typer.echo(f"sacbnet: interrupted; what was scored until then is in {out}", err=True)
        raise SystemExit(130)
    if failed := found.report["failed"]:
        raise RegistrationError(
            f"{failed} of {len(list_of_pairs)} pairs failed; the scores of the others are in {out}"
        )


def _protocol(recipe: str | None, told: Mapping[str, Any]) -> DataOptions:
    """The pairs of a recipe: the one named, else that of the weights (told: what they state), else all ordered pairs.

    Of the weights' recipe only the options on data that are known here are read: weights stay usable whatever becomes
    of the other options.
    """
    from sacbnet.config.recipe import DataOptions, read_recipe, recipe_from_dict
    from sacbnet.errors import WeightsError
    from sacbnet.training.folder import find_recipe

    if recipe is not None:
        return read_recipe(find_recipe(recipe)).data
    if "recipe" not in told:
        return DataOptions(validation_pairs="all")
    try:
        data = json.loads(told["recipe"])["data"]
        known = {f.name: data[f.name] for f in fields(DataOptions) if f.name in data}
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"the weights' own recipe cannot be used ({error}); name one by --recipe"
        ) from error
    return recipe_from_dict({"data": known}).data


def numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Whole numbers that were joined by commas; None where the option was not given."""
    from sacbnet.errors import InputError

    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InputError(
            f"{option} is {text!r}; whole numbers joined by commas were expected"
        ) from error
