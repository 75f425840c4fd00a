"""sacbnet register"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o

EPILOG = """[bold]Examples[/bold]

sacbnet register --fixed a.nii.gz --moving b.nii.gz --out result

sacbnet register --fixed ct_monday/ --moving ct_friday/ --out result --affine rigid (DICOM folders)

sacbnet register --fixed a.nii.gz --moving b.nii.gz --moving-labels b_seg.nii.gz --out result --preset fast

[bold]What comes out[/bold]: moved.nii.gz (and moved_labels.nii.gz) on the fixed image's grid; transform.nii.gz and
inverse_transform.nii.gz, displacement fields that antsApplyTransforms -t and SimpleITK read as they are; affine.mat,
the affine part; run.json, the account of the run. A transform maps fixed points to moving points (LPS, mm)."""

IMAGES = "Images"


def register(
    fixed: Annotated[
        Path,
        typer.Option(
            help="The image that stays: NIfTI, MGH, NRRD, MHA, or a DICOM folder.",
            rich_help_panel=IMAGES,
        ),
    ],
    moving: Annotated[
        Path, typer.Option(help="The image that is deformed onto it.", rich_help_panel=IMAGES)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.", rich_help_panel=IMAGES)],
    fixed_mask: Annotated[
        Path | None,
        typer.Option(help="Region of the fixed image that counts.", rich_help_panel=IMAGES),
    ] = None,
    moving_mask: Annotated[
        Path | None,
        typer.Option(help="Region of the moving image that counts.", rich_help_panel=IMAGES),
    ] = None,
    fixed_labels: Annotated[
        Path | None,
        typer.Option(
            help="Segmentation of the fixed image, to report Dice.", rich_help_panel=IMAGES
        ),
    ] = None,
    moving_labels: Annotated[
        Path | None,
        typer.Option(
            help="Segmentation to carry along, by nearest neighbour.", rich_help_panel=IMAGES
        ),
    ] = None,
    affine: o.Affine = "auto",
    weights: o.Weights = "default",
    preset: o.PresetName = "balanced",
    refine: o.Refine = None,
    spacing: o.Spacing = None,
    box: o.Box = "auto",
    device: o.Device = "auto",
    precision: o.PrecisionName = "float32",
    save_clusters: Annotated[
        bool,
        typer.Option(
            "--save-clusters",
            help="Also write the regions of every level of the network, as label maps.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = False,
    save_uncertainty: Annotated[
        bool,
        typer.Option(
            "--save-uncertainty",
            help="Also write how far each voxel's match spreads, in mm.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace the result of another pair in the folder.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log: o.Log = None,
) -> None:
    """Register a moving image to a fixed one."""
    import sys

    import psutil
    from rich.console import Console

    from sacbnet.files import check_writable
    from sacbnet.io.images import load_image
    from sacbnet.registration.registrar import Registrar, image_facts
    from sacbnet.registration.result import RUN, refuse_another
    from sacbnet.reporting.console import progress_bar, registration_lines, registration_table

    check_writable(out)  # before minutes are spent
    if (out / RUN).is_file() and not overwrite:
        refuse_another(out, *(image_facts(path, load_image(path)) for path in (fixed, moving)))
    with progress_bar(quiet, verbose=verbose, log=log) as progress:
        registrar = Registrar(
            weights=weights,
            affine=affine,
            preset=preset,
            refine=refine,
            spacing=spacing,
            box=box,
            device=device,
            precision=precision,
            save_clusters=save_clusters,
            save_uncertainty=save_uncertainty,
        )
        result = registrar.register(
            fixed=fixed,
            moving=moving,
            fixed_mask=fixed_mask,
            moving_mask=moving_mask,
            fixed_labels=fixed_labels,
            moving_labels=moving_labels,
            progress=progress,
        )
        progress("write", 0.0)
        started = psutil.Process().create_time()
        paths = result.save(out, overwrite=True, started=started, command=tuple(sys.argv))
    if quiet:
        return
    console = Console(highlight=False)
    console.print(registration_table(result.report))
    for line in registration_lines(result.report):
        console.print(line)
    console.print(f"written to {out}: {', '.join(paths)}")
