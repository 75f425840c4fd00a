"""sacbnet register"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EPILOG = """[bold]Examples[/bold]

sacbnet register --fixed a.nii.gz --moving b.nii.gz --out result

sacbnet register --fixed ct_monday/ --moving ct_friday/ --out result --affine rigid (DICOM folders)

sacbnet register --fixed a.nii.gz --moving b.nii.gz --moving-labels b_seg.nii.gz --out result --preset fast

[bold]What comes out[/bold]: moved.nii.gz (and moved_labels.nii.gz) on the fixed image's grid; transform.nii.gz and
inverse_transform.nii.gz, displacement fields that antsApplyTransforms -t and SimpleITK read as they are; affine.mat,
the affine part; run.json, the account of the run. A transform maps fixed points to moving points (LPS, mm)."""


class Affine(StrEnum):
    none = "none"
    rigid = "rigid"
    affine = "affine"


class Preset(StrEnum):
    fast = "fast"
    balanced = "balanced"
    accurate = "accurate"


class Precision(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"


def register(
    fixed: Annotated[
        Path,
        typer.Option(
            help="The image that stays: NIfTI, MGH, NRRD, MHA, or a DICOM folder.",
            rich_help_panel="Images",
        ),
    ],
    moving: Annotated[
        Path, typer.Option(help="The image that is deformed onto it.", rich_help_panel="Images")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.", rich_help_panel="Images")],
    fixed_mask: Annotated[
        Path | None,
        typer.Option(help="Region of the fixed image that counts.", rich_help_panel="Images"),
    ] = None,
    moving_mask: Annotated[
        Path | None,
        typer.Option(help="Region of the moving image that counts.", rich_help_panel="Images"),
    ] = None,
    fixed_labels: Annotated[
        Path | None,
        typer.Option(
            help="Segmentation of the fixed image, to report Dice.", rich_help_panel="Images"
        ),
    ] = None,
    moving_labels: Annotated[
        Path | None,
        typer.Option(
            help="Segmentation to carry along, by nearest neighbour.", rich_help_panel="Images"
        ),
    ] = None,
    affine: Annotated[
        Affine,
        typer.Option(
            help="Alignment before all else; none if the headers already agree.",
            rich_help_panel="Method",
        ),
    ] = Affine.affine,
    weights: Annotated[
        str | None,
        typer.Option(
            help="A name that `sacbnet weights list` shows, a safetensors file or a training run; none: affine and"
            " refinement only.",
            show_default="those that `sacbnet weights list` marks",
            rich_help_panel="Method",
        ),
    ] = None,
    preset: Annotated[
        Preset,
        typer.Option(
            help="fast: the network alone. balanced: refined for this pair. accurate: longer, at full resolution.",
            rich_help_panel="Method",
        ),
    ] = Preset.balanced,
    refine: Annotated[
        int | None,
        typer.Option(
            help="Optimisation steps per level at most, instead of the preset's; 0: none.",
            min=0,
            rich_help_panel="Method",
        ),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(
            help="Working resolution in mm; default: the weights' own, or 1 for human scans.",
            rich_help_panel="Method",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel="Method")
    ] = "auto",
    precision: Annotated[
        Precision,
        typer.Option(
            help="Of the network's features; bfloat16 halves their memory.",
            rich_help_panel="Method",
        ),
    ] = Precision.float32,
    save_clusters: Annotated[
        bool,
        typer.Option(
            "--save-clusters",
            help="Also the regions of every level of the network, as label maps.",
            rich_help_panel="Images",
        ),
    ] = False,
    save_uncertainty: Annotated[
        bool,
        typer.Option(
            "--save-uncertainty",
            help="Also how far each voxel's match spreads, in mm.",
            rich_help_panel="Images",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Register a moving image to a fixed one."""
    from rich.console import Console

    from sacbnet.files import check_writable
    from sacbnet.networks.weights.catalogue import default
    from sacbnet.registration.registrar import register as run
    from sacbnet.reporting.console import progress_bar, registration_lines, registration_table

    check_writable(out)  # before minutes are spent
    with progress_bar(quiet) as progress:
        result = run(
            fixed,
            moving,
            fixed_mask=fixed_mask,
            moving_mask=moving_mask,
            fixed_labels=fixed_labels,
            moving_labels=moving_labels,
            progress=progress,
            weights=weights or default(),
            affine=affine.value,
            preset=preset.value,
            refine=refine,
            spacing=spacing,
            device=device,
            precision=precision.value,
            save_clusters=save_clusters,
            save_uncertainty=save_uncertainty,
        )
        progress("write", 0.0)
        paths = result.save(out)
    if quiet:
        return
    console = Console(highlight=False)
    console.print(registration_table(result.report))
    for line in registration_lines(result.report):
        console.print(line)
    console.print(f"written to {out}: {', '.join(paths)}")
