"""sacbnet register"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o

EPILOG = o.epilog("""[bold]Examples[/bold]

sacbnet register --fixed a.nii.gz --moving b.nii.gz --out result

sacbnet register --fixed ct_may/ --moving ct_june/ --out ct --affine rigid

sacbnet register --fixed a.nii --moving b.nii --out result --preset accurate

[bold]Files in the result folder[/bold]

moved.nii.gz: the moving image on the grid of the fixed image; moved_labels.nii.gz: its labels.

transform.nii.gz, inverse_transform.nii.gz: displacement fields, which antsApplyTransforms -t and
SimpleITK read as they are. A transform maps points of the fixed image to points of the moving image
(LPS, mm).

affine.mat: the affine part of the transform.

report.html: a page with pictures and numbers, for any browser.

run.json: the verdict (good, check or failed) with its reasons, versions, weights, seconds, memory,
similarity before and after, folding, warnings.""")

IMAGES = "Images"


def register(
    fixed: Annotated[
        Path,
        typer.Option(
            help="The image that stays: a NIfTI, MGH, NRRD or MHA file, or a DICOM folder.",
            rich_help_panel=IMAGES,
        ),
    ],
    moving: Annotated[
        Path,
        typer.Option(
            help="The image that is deformed onto the fixed image.", rich_help_panel=IMAGES
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the result.", rich_help_panel=IMAGES)],
    fixed_mask: Annotated[
        Path | None,
        typer.Option(
            help="Mask of the fixed image: only its region counts in the comparison of the images."
            " Default: the whole image.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    moving_mask: Annotated[
        Path | None,
        typer.Option(
            help="Mask of the moving image. Default: the whole image.", rich_help_panel=IMAGES
        ),
    ] = None,
    fixed_labels: Annotated[
        Path | None,
        typer.Option(
            help="Labels of the fixed image. With labels of both images, Dice is reported.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    moving_labels: Annotated[
        Path | None,
        typer.Option(
            help="Labels of the moving image, which are warped by nearest neighbour.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    fixed_points: Annotated[
        Path | None,
        typer.Option(
            help="Landmarks of the fixed image: a .csv (LPS), .mrk.json or .fcsv file. With those"
            " of the moving image they guide the refinement, and their distances are reported."
            " Landmarks of one name belong together.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    moving_points: Annotated[
        Path | None,
        typer.Option(help="Landmarks of the moving image.", rich_help_panel=IMAGES),
    ] = None,
    fixed_contrast: Annotated[
        list[Path] | None,
        typer.Option(
            help="A further contrast of the fixed image, such as T2, on its grid. Repeat it for"
            " more. The refinement compares all contrasts.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    moving_contrast: Annotated[
        list[Path] | None,
        typer.Option(
            help="The same contrast of the moving image; as many as of the fixed image, in the"
            " same order.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    initial: Annotated[
        list[str] | None,
        typer.Option(
            help="A transform to start from: a file of ITK, ANTs, 3D Slicer, FSL, FreeSurfer or"
            " AFNI, or a result folder; NAME,inverse stands for its inverse. Repeat it for a chain,"
            " in the order from the fixed to the moving image. It takes the place of the alignment;"
            " --affine rigid or affine then corrects it. The result contains it.",
            metavar="NAME[,inverse]",
            rich_help_panel=o.METHOD,
        ),
    ] = None,
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
    dicom_out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the result as DICOM, if both images are DICOM series: the moved image"
            " as a series in the study of the fixed image, and the transform as a Spatial"
            " Registration or Deformable Spatial Registration object. Default: no DICOM.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Write report.html, a page with pictures and numbers.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = True,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept",
            help="Write the result although its verdict is failed. Without it, that is an error.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace the result of another pair in the folder. Without it, that is an error.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log: o.Log = None,
) -> None:
    """Register a moving image to a fixed image."""
    import sys

    import psutil
    from rich.console import Console

    from sacbnet.config.registration import map_names
    from sacbnet.files import check_writable, keep_inputs, sweep
    from sacbnet.io.images import load_image
    from sacbnet.registration.given import bare
    from sacbnet.registration.inputs import image_facts
    from sacbnet.registration.registrar import Registrar
    from sacbnet.registration.result import FILES, MAPS, RUN, TRANSFORM, refuse_another
    from sacbnet.reporting.console import progress_bar, registration_lines, registration_table
    from sacbnet.reporting.page.build import report as page

    masks, labels = (fixed_mask, moving_mask), (fixed_labels, moving_labels)
    contrasts = (fixed_contrast or [], moving_contrast or [])
    points = (fixed_points, moving_points)
    inputs = (fixed, moving, *masks, *labels, *points, *contrasts[0], *contrasts[1], weights)
    written = [out / name for name in (*FILES, *MAPS)]
    given = [p / TRANSFORM if p.is_dir() else p for p in map(bare, initial or ())]
    keep_inputs([*written, *filter(None, [log])], (*inputs, *given))
    check_writable(out)  # before minutes are spent
    sweep(out)  # a run that was killed may have moved an earlier result aside
    if (out / RUN).is_file() and not overwrite:
        refuse_another(out, *(image_facts(path, load_image(path)) for path in (fixed, moving)))
    if dicom_out is not None:
        from sacbnet.registration.dicom import check_dicom

        check_dicom(dicom_out, fixed, moving, overwrite=overwrite)
    with progress_bar(quiet, verbose=verbose, log=log) as progress:
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
            accept=accept,
            save=map_names(save),
        )
        result = registrar.register(
            fixed=fixed,
            moving=moving,
            fixed_mask=fixed_mask,
            moving_mask=moving_mask,
            fixed_labels=fixed_labels,
            moving_labels=moving_labels,
            fixed_points=fixed_points,
            moving_points=moving_points,
            fixed_contrasts=contrasts[0],
            moving_contrasts=contrasts[1],
            initial=initial,
            progress=progress,
        )
        progress("write", 0.0)
        started = psutil.Process().create_time()
        paths = result.save(
            out,
            overwrite=overwrite,
            started=started,
            command=tuple(sys.argv),
            page=page if report else None,
        )
        series = result.save_dicom(dicom_out, overwrite=overwrite) if dicom_out else {}
    if quiet:
        return
    console = Console(highlight=False)
    console.print(f"written to {out}: {', '.join(paths)}")
    if series:
        console.print(f"written to {dicom_out}: {len(series) - 1} slices, registration.dcm")
    console.print(registration_table(result.report))
    for line in registration_lines(result.report):
        console.print(line)
