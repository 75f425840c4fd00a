"""sacbnet cohort"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o

EPILOG = o.epilog("""[bold]Examples[/bold]

sacbnet cohort pairs.csv --out results

sacbnet cohort pairs.csv --out results --weights brain --preset fast

[bold]The list[/bold]

The list is a CSV with the columns fixed and moving. The columns name, fixed_mask, moving_mask,
fixed_labels and moving_labels are optional. Paths are relative to the CSV.

[bold]Files in the result folder[/bold]

NAME/: the result of each pair, as sacbnet register writes it.

summary.csv: a row for each pair. summary.json: the same as numbers, with the options.

The same command continues an interrupted cohort: it skips the finished pairs. If a pair fails, the
files say so, the other pairs are registered, and the exit code is 6.""")


def cohort(
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS.csv", help="The list of pairs.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    affine: o.Affine = "auto",
    weights: o.Weights = "default",
    preset: o.PresetName = "balanced",
    refine: o.Refine = None,
    metric: o.MetricName = "lncc",
    smoothness: o.Smoothness = None,
    spacing: o.Spacing = None,
    box: o.Box = "auto",
    fill: o.Fill = "auto",
    device: o.Device = "auto",
    precision: o.PrecisionName = "float32",
    save: o.Save = "",
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace results of other images or options; finished pairs are still skipped.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log: o.Log = None,
) -> None:
    """Register every pair of a list; the same command continues an interrupted cohort."""
    import sys
    from dataclasses import astuple

    from sacbnet.cohort.pairs import SUMMARY, TABLE, read_pairs
    from sacbnet.cohort.run import register_pairs
    from sacbnet.config.registration import map_names
    from sacbnet.errors import RegistrationError
    from sacbnet.files import check_writable, keep_inputs
    from sacbnet.networks.weights.catalogue import licence_notice
    from sacbnet.registration.registrar import Registrar
    from sacbnet.registration.result import FILES, MAPS
    from sacbnet.reporting.console import progress_bar

    listed = read_pairs(pairs)
    inputs = {
        pairs,
        Path(weights),
        *(p for pair in listed for p in astuple(pair) if isinstance(p, Path)),
    }
    written = [out / pair.name / name for pair in listed for name in (*FILES, *MAPS)]
    keep_inputs([*written, out / TABLE, out / SUMMARY, *filter(None, [log])], inputs)
    check_writable(out)
    try:
        with progress_bar(quiet, of_all=True, verbose=verbose, log=log) as progress:
            registrar = Registrar(
                weights=weights,
                affine=affine,
                preset=preset,
                refine=refine,
                metric=metric,
                smoothness=smoothness,
                spacing=spacing,
                box=box,
                fill=fill,  # type: ignore[arg-type]
                device=device,
                precision=precision,
                save=map_names(save),
            )
            if not quiet and (notice := licence_notice(registrar.engine.weights)):
                typer.echo(f"sacbnet: {notice}", err=True)
            found = register_pairs(
                listed,
                registrar,
                out,
                overwrite=overwrite,
                command=tuple(sys.argv),
                progress=progress,
            )
    except KeyboardInterrupt:
        typer.echo(f"sacbnet: interrupted; the same command goes on from {out}", err=True)
        raise SystemExit(130) from None
    failed = [row for row in found.outcomes if row.status == "failed"]
    if not quiet:
        typer.echo(
            f"pairs: {found.count('done')} done, {found.count('skipped')} skipped (finished"
            f" before), {len(failed)} failed; written to {out}"
        )
    for row in failed[:10]:
        typer.echo(f"sacbnet: {row.name}: {row.error}", err=True)
    if failed:
        raise RegistrationError(
            f"{len(failed)} of {found.asked} pairs failed; {out / TABLE} has the reason of each"
        )
