"""sacbnet evaluate"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sacbnet.config.choices import Alignment, Pairing, Preset

from . import options as o

if TYPE_CHECKING:
    from sacbnet.evaluation.protocol import Protocol
    from sacbnet.evaluation.run import Evaluation

EPILOG = o.epilog("""[bold]Examples[/bold]

sacbnet evaluate --weights brain --data MALF --out scores

sacbnet evaluate --weights runs/a --recipe lpba40 --data LPBA40 --out scores

sacbnet evaluate --weights my.safetensors --data pairs.csv --out scores

sacbnet evaluate --weights none --recipe lpba40 --data LPBA40 --out refined

[bold]Files in the result folder[/bold]

pairs.csv: a row for each pair and method. labels.csv: a row for each pair, method and label.

summary.json: mean, SD, 95% confidence interval, versions, weights.

index.html: a page with the means, box plots, and pictures of the worst pairs.

If a pair fails, the files say so, the other pairs are scored, and the exit code is 6.""")

PAIRS = "Pairs"


def evaluate(
    data: Annotated[
        Path,
        typer.Option(help="The data: a folder, a CSV or a Learn2Reg JSON.", rich_help_panel=PAIRS),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.", rich_help_panel=PAIRS)],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A recipe (file or name) whose validation pairs, labels and alignment are used."
            " With a recipe, --affine auto means none, as in the training. Default: the pairs and"
            " labels of --data.",
            rich_help_panel=PAIRS,
        ),
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option(
            help="Cases to take: a slice such as 160:200, or globs of names. Default: those of the"
            " recipe, else all.",
            rich_help_panel=PAIRS,
        ),
    ] = None,
    pairs: Annotated[
        Pairing | None,
        typer.Option(
            help="Which pairs to make of the cases. Default: the pairs that the data list, else"
            " each case with the next.",
            rich_help_panel=PAIRS,
        ),
    ] = None,
    atlas: Annotated[
        str | None,
        typer.Option(
            help="Name of the moving case of all pairs, with --pairs atlas.", rich_help_panel=PAIRS
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Labels to score, such as 1,2. Default: those of the recipe, else all.",
            rich_help_panel=PAIRS,
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            help="Largest number of pairs, evenly spread over all pairs. 0: all pairs.",
            min=0,
            rich_help_panel=PAIRS,
        ),
    ] = 0,
    align: Annotated[
        Alignment | None,
        typer.Option(
            help="How the images of a pair come together. header: by their headers. centre: by the"
            " centres of their boxes; only with --affine none. Default: as in the recipe, else"
            " header.",
            rich_help_panel=o.METHOD,
        ),
    ] = None,
    weights: o.Weights = "none",
    affine: o.Affine = "auto",
    preset: Annotated[
        Preset | None,
        typer.Option(
            help="How much refinement follows the network, as in sacbnet register. Default: fast"
            " with weights, balanced without.",
            rich_help_panel=o.METHOD,
        ),
    ] = None,
    refine: o.Refine = None,
    repair: Annotated[
        bool,
        typer.Option(
            help="Repair folds before scoring, as sacbnet register does. With --no-repair, the"
            " scores show the folding of the network itself.",
            rich_help_panel=o.METHOD,
        ),
    ] = True,
    metric: o.MetricName = "lncc",
    smoothness: o.Smoothness = None,
    spacing: o.Spacing = None,
    box: o.Box = "auto",
    device: o.Device = "auto",
    precision: o.PrecisionName = "float32",
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log: o.Log = None,
) -> None:
    """Score weights, or refinement alone, on a list of pairs.

    The scores are Dice, HD95, folding, TRE, seconds and memory.
    """
    from rich.console import Console

    from sacbnet.config.registration import Options
    from sacbnet.evaluation.protocol import pairs_to_score
    from sacbnet.evaluation.run import evaluate as run
    from sacbnet.evaluation.tables import (
        LABELS,
        PAGE,
        SUMMARY,
        scored_line,
        scores_table,
        write_scores,
    )
    from sacbnet.evaluation.tables import PAIRS as TABLE
    from sacbnet.files import Claim, check_writable, keep_inputs
    from sacbnet.networks.weights.catalogue import licence_notice
    from sacbnet.registration.registrar import Registrar
    from sacbnet.reporting.console import progress_bar
    from sacbnet.reporting.page.evaluation import evaluation_page
    from sacbnet.reporting.page.worst import Worst

    check_writable(out)
    claim = Claim.of(out / SUMMARY)
    if affine == "auto" and recipe is not None:
        affine = "none"  # as in the training by that recipe
    protocol = _protocol(
        recipe,
        subset=subset,
        pairing=pairs,
        atlas=atlas,
        labels=o.numbers("--labels", labels),
        align=align,
    )
    cases, list_of_pairs = pairs_to_score(data, protocol, limit)
    inputs = {p for case in cases for p in (case.image, case.labels, case.points)}
    written = [out / name for name in (TABLE, LABELS, SUMMARY, PAGE)]
    keep_inputs([*written, *filter(None, [log])], {*inputs, data, recipe, weights})
    registrar = Registrar.of(
        Options(
            weights=weights,
            affine=affine,
            refine=refine,
            metric=metric,
            smoothness=smoothness,
            preset=preset or ("balanced" if weights == "none" else "fast"),
            device=device,
            spacing=spacing,
            box=box,
            precision=precision,
            repair=repair,
        )
    )
    if not quiet and (notice := licence_notice(registrar.engine.weights)):
        typer.echo(f"sacbnet: {notice}", err=True)
    worst = Worst()
    with progress_bar(quiet, of_all=True, verbose=verbose, log=log) as progress:
        found = run(
            cases,
            list_of_pairs,
            registrar,
            labels=protocol.labels,
            align=protocol.align,
            progress=progress,
            watch=worst,
        )
    write_scores(out, found, claim, evaluation_page(found, worst, protocol.origin))
    if not quiet:
        Console(highlight=False).print(scores_table(found.report))
        typer.echo(scored_line(found.report, protocol.origin))
    _warn(found, out, "--labels" if labels is not None else protocol.origin)


def _protocol(recipe: str | None, **given: Any) -> Protocol:
    """The pairs and labels to score: those of the recipe, else of the data, with given values."""
    from sacbnet.config.recipe import read_recipe
    from sacbnet.evaluation.protocol import Protocol
    from sacbnet.training.folder import find_recipe

    protocol = Protocol()
    if recipe is not None:
        protocol = Protocol.of(read_recipe(find_recipe(recipe)).data, f"the recipe {recipe}")
    given = {name: value for name, value in given.items() if value is not None}
    if named := [
        f"--{'pairs' if n == 'pairing' else n}" for n in ("subset", "pairing") if n in given
    ]:
        given["origin"] = f"{' and '.join(named)}, else {protocol.origin}"
    return replace(protocol, **given)


def _warn(found: Evaluation, out: Path, origin: str) -> None:
    """Say on stderr what is missing, and end the program if pairs failed or Ctrl-C ended it.

    `origin` says who asked for the labels.
    """
    from sacbnet.errors import RegistrationError
    from sacbnet.evaluation.tables import failures

    if missing := found.report["labels_missing"]:
        typer.echo(
            f"sacbnet: warning: no pair has the labels {', '.join(map(str, missing))}, which were"
            f" asked for (by {origin})",
            err=True,
        )
    for line in failures(found.report):
        typer.echo(f"sacbnet: {line}", err=True)
    if found.report["incomplete"]:
        typer.echo(f"sacbnet: interrupted; what was scored until then is in {out}", err=True)
        raise SystemExit(130)
    if failed := found.report["failed"]:
        raise RegistrationError(
            f"{failed} of {found.report['pairs']} pairs failed; the scores of the others are in"
            f" {out}"
        )
