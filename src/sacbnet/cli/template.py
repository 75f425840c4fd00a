"""sacbnet template"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from . import workers as w

if TYPE_CHECKING:
    from sacbnet.cohort.members import Member
    from sacbnet.cohort.template import Template

TEMPLATE = "Template"
EPILOG = o.epilog("""[bold]Examples[/bold]

sacbnet template images --out group

sacbnet template BIDS --suffix T1w --out group --spacing 1 --workers 4

sacbnet template BIDS --suffix T1w --within-subject --out longitudinal

[bold]The images[/bold]

A folder of images, a BIDS dataset, or a CSV with the column image. The columns name, mask, labels
and subject are optional, and so are further contrasts on the grid of each image: image_t2.

[bold]Files in the result folder[/bold]

template.nii.gz: the mean image in the mean shape. template_t2.nii.gz: the same of the contrast t2.

subjects/NAME/: the registration of each image to the template, as sacbnet register writes it.

affine_mean.nii.gz: the mean before any deformation. template.json: what each round did.

The same command continues an interrupted template. With --within-subject these files are in a
folder for each subject.""")


def template(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A folder of images, BIDS dataset or CSV.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    within_subject: Annotated[
        bool,
        typer.Option(
            "--within-subject",
            help="One template for each subject, of its time points; aligned rigidly, so that sizes"
            " are kept, unless --affine says otherwise.",
            rich_help_panel=TEMPLATE,
        ),
    ] = False,
    symmetric: Annotated[
        bool,
        typer.Option(
            "--symmetric",
            help="Let each image count once as it is and once as its mirror image, left for right.",
            rich_help_panel=TEMPLATE,
        ),
    ] = False,
    rounds: Annotated[
        int,
        typer.Option(min=0, help="Rounds with deformation.", rich_help_panel=TEMPLATE),
    ] = 4,
    affine_rounds: Annotated[
        int,
        typer.Option(
            min=0, help="Rounds before them, with the affine alone.", rich_help_panel=TEMPLATE
        ),
    ] = 2,
    sharpen: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="How much each mean after deformation is sharpened. 0: not at all. 0.5: about as"
            " sharp inside as one of the images, for groups of ten or more.",
            rich_help_panel=TEMPLATE,
        ),
    ] = 0.0,
    spacing: Annotated[
        float | None,
        typer.Option(
            help="Voxel spacing of the template, in mm. Default: the median of the images.",
            rich_help_panel=TEMPLATE,
        ),
    ] = None,
    suffix: Annotated[
        str | None,
        typer.Option(
            help="Kind of images in a BIDS dataset, such as T1w. Default: the only kind there is.",
            rich_help_panel=TEMPLATE,
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
    device: o.Device = "auto",
    precision: o.PrecisionName = "float32",
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace a template of other images or options.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log: o.Log = None,
) -> None:
    """Build an unbiased template of a group, and register every image to it."""
    import sys

    from sacbnet.cohort.crew import crew_of, workers_here
    from sacbnet.cohort.members import read_members
    from sacbnet.cohort.template import TemplateOptions, build_template
    from sacbnet.cohort.template.build import written_files
    from sacbnet.cohort.template.subjects import by_subject
    from sacbnet.config.registration import Options
    from sacbnet.files import check_writable, keep_inputs
    from sacbnet.networks.weights.catalogue import licence_notice
    from sacbnet.networks.weights.load import describe_weights
    from sacbnet.reporting.console import progress_bar

    if within_subject and affine == "auto":
        affine = "rigid"
    options = Options(
        weights=weights,
        affine=affine,
        preset=preset,
        refine=refine,
        metric=metric,
        smoothness=smoothness,
        device=device,
        precision=precision,
    )
    how = TemplateOptions(rounds, affine_rounds, symmetric, spacing, sharpen)
    members = read_members(source, suffix)
    groups = by_subject(members, source) if within_subject else {"": members}
    places = {name: out / name for name, group in groups.items() if len(group) > 1 or not name}
    written = [path for name, to in places.items() for path in written_files(groups[name], to)]
    read = {Path(weights), *(p for m in members for p in m.files())}
    keep_inputs([*written, *([] if log is None else [log])], read)
    check_writable(out)
    info = None if weights == "none" else describe_weights(weights)
    if not quiet and (notice := licence_notice(info)):
        typer.echo(f"sacbnet: {notice}", err=True)
    made: dict[str, Template] = {}
    try:
        with progress_bar(quiet, of_all=True, verbose=verbose, log=log) as progress:
            here = workers or (1 if scheduler else workers_here(w.gpus_of(device)))
            here = min(here, max(len(groups[name]) for name in places))
            with crew_of(here, scheduler) as crew:
                tell = w.with_time_left(progress)
                for n, (name, to) in enumerate(places.items()):
                    made[name] = build_template(
                        groups[name],
                        options,
                        to,
                        how=how,
                        crew=crew,
                        overwrite=overwrite,
                        command=tuple(sys.argv),
                        progress=_part(tell, n, len(places), name),
                    )
    except KeyboardInterrupt:
        typer.echo(f"sacbnet: interrupted; the same command goes on from {out}", err=True)
        raise SystemExit(130) from None
    _tell(made, groups, out, quiet)


def _part(
    tell: Callable[[str, float], None], number: int, count: int, name: str
) -> Callable[[str, float], None]:
    """Progress of one template of several, as a part of all."""
    before = f"{name}, " if name else ""
    return lambda what, fraction: tell(f"{before}{what}", (number + fraction) / count)


def _tell(
    made: dict[str, Template], groups: Mapping[str, Sequence[Member]], out: Path, quiet: bool
) -> None:
    from sacbnet.errors import RegistrationError

    failed = [row for t in made.values() for row in t.cohort.outcomes if row.status == "failed"]
    if not quiet:
        for name, found in made.items():
            before = f"{name}: " if name else ""
            typer.echo(
                f"{before}template of {found.rounds[-1].images} images written to {found.path}"
            )
        if alone := [name for name in groups if name not in made]:
            typer.echo(
                f"left out, as they have one image each: {', '.join(alone[:10])}"
                + (" ..." if len(alone) > 10 else "")
            )
    for row in failed[:10]:
        typer.echo(f"sacbnet: {row.name}: {row.error}", err=True)
    if failed:
        raise RegistrationError(
            f"{len(failed)} images were not registered to the template in {out}; its mean is that"
            " of the others"
        )
