"""sacbnet cohort"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from . import workers as w

if TYPE_CHECKING:
    from sacbnet.cohort.members import Member
    from sacbnet.cohort.pairs import CohortPair
    from sacbnet.cohort.summary import Cohort

SOURCE = "Pairs"
EPILOG = o.epilog("""[bold]Examples[/bold]

sacbnet cohort pairs.csv --out results

sacbnet cohort pairs.csv --out results --weights brain --preset fast --workers 4

sacbnet cohort BIDS --suffix T1w --to template.nii.gz --out derivatives

[bold]The list[/bold]

A list of pairs is a CSV with the columns fixed and moving. The columns name, fixed_mask,
moving_mask, fixed_labels and moving_labels are optional. Paths are relative to the CSV.

With --to, the source lists images: a BIDS dataset, a folder of images, or a CSV with the column
image and perhaps name, mask and labels.

[bold]Files in the result folder[/bold]

NAME/: the result of each pair, as sacbnet register writes it.

index.html: a page with a picture and the verdict of each pair, the doubtful pairs first.
summary.csv: a row for each pair. summary.json: the same as numbers, with the options.

sub-.../: for a BIDS dataset, the same files under the names of BIDS derivatives.

The same command continues an interrupted cohort: it skips the finished pairs. If a pair fails, the
files say so, the other pairs are registered, and the exit code is 6.""")


def cohort(
    pairs: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="A list of pairs (CSV); with --to: a BIDS dataset or a folder."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="REFERENCE|pairwise",
            help="Register every image of the source to this image; or pairwise: every image to"
            " every image before it, each pair once.",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    to_mask: Annotated[
        Path | None,
        typer.Option(help="Mask of the reference.", rich_help_panel=SOURCE),
    ] = None,
    to_labels: Annotated[
        Path | None,
        typer.Option(help="Label map of the reference.", rich_help_panel=SOURCE),
    ] = None,
    suffix: Annotated[
        str | None,
        typer.Option(
            help="Kind of images in a BIDS dataset, such as T1w. Default: the only kind there is.",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    workers: w.Workers = None,
    scheduler: w.Scheduler = None,
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
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Write a page of its own, report.html, for each pair.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = False,
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
    """Register every pair of a list or dataset; the same command continues it."""
    import sys
    from dataclasses import astuple

    from sacbnet.cohort.crew import crew_of, workers_here
    from sacbnet.cohort.derivatives import write_derivatives
    from sacbnet.cohort.pairs import INDEX, SUMMARY, TABLE
    from sacbnet.cohort.run import register_pairs
    from sacbnet.config.registration import map_names
    from sacbnet.files import check_writable, keep_inputs
    from sacbnet.networks.weights.catalogue import licence_notice
    from sacbnet.registration.registrar import Registrar
    from sacbnet.registration.result import FILES, MAPS
    from sacbnet.reporting.console import progress_bar

    members, listed = _listed(pairs, to, to_mask, to_labels, suffix)
    inputs = {
        Path(weights),
        *([pairs] if pairs.is_file() else []),
        *(p for pair in listed for p in astuple(pair) if isinstance(p, Path)),
    }
    written = [out / pair.name / name for pair in listed for name in (*FILES, *MAPS)]
    keep_inputs([*written, *(out / n for n in (TABLE, SUMMARY, INDEX)), *_given(log)], inputs)
    check_writable(out)
    try:
        with progress_bar(quiet, of_all=True, verbose=verbose, log=log) as progress:
            here = workers or (1 if scheduler else min(len(listed), _workers(device, workers_here)))
            alone = scheduler is None and here == 1
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
                device=device if alone else "cpu",  # the workers have the device
                precision=precision,
                save=map_names(save),
            )
            if not quiet and (notice := licence_notice(registrar.engine.weights)):
                typer.echo(f"sacbnet: {notice}", err=True)
            with crew_of(here, scheduler) as crew:
                found = register_pairs(
                    listed,
                    registrar,
                    out,
                    overwrite=overwrite,
                    command=tuple(sys.argv),
                    progress=w.with_time_left(progress),
                    crew=crew,
                    device=device,
                    page=report,
                )
    except KeyboardInterrupt:
        typer.echo(f"sacbnet: interrupted; the same command goes on from {out}", err=True)
        raise SystemExit(130) from None
    if members and members[0].bids is not None:
        write_derivatives(found, listed, members, pairs, out)
    _tell(found, out, quiet)


def _listed(
    source: Path, to: str | None, mask: Path | None, labels: Path | None, suffix: str | None
) -> tuple[tuple[Member, ...], tuple[CohortPair, ...]]:
    """The images of the source, if it lists images, and the pairs."""
    from sacbnet.cohort.members import pairwise, read_members, to_reference
    from sacbnet.cohort.pairs import read_pairs
    from sacbnet.errors import InputError

    if to in (None, "pairwise") and (mask or labels):
        raise InputError("--to-mask and --to-labels belong to a reference; name one by --to")
    if to is None:
        if source.is_dir():
            raise InputError(
                f"{source} is a folder of images; say by --to which pairs are meant: the path of a"
                " reference, or pairwise"
            )
        if suffix is not None:
            raise InputError("--suffix is for a BIDS dataset, with --to; leave it out for a list")
        return (), read_pairs(source)
    members = read_members(source, suffix)
    if to == "pairwise":
        return members, pairwise(members)
    return members, to_reference(members, Path(to), mask, labels)


def _workers(device: str, workers_here: Callable[[int], int]) -> int:
    return workers_here(w.gpus_of(device))


def _given(path: Path | None) -> list[Path]:
    return [] if path is None else [path]


def _tell(found: Cohort, out: Path, quiet: bool) -> None:
    from sacbnet.cohort.pairs import TABLE
    from sacbnet.errors import RegistrationError

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
