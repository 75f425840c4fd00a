"""sacbnet apply"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import options as o

EPILOG = o.epilog("""[bold]Examples[/bold]

sacbnet apply result --image b_pet.nii.gz --onto fixed --out pet_on_a.nii.gz

sacbnet apply result --labels a_seg.nii.gz --onto moving --out seg_on_b.nii.gz

sacbnet apply result --points b.mrk.json --onto fixed --out points_on_a.csv

[bold]Direction[/bold]

--onto names the image on which you want the result. The given file belongs to the other image.

[bold]Points[/bold]

Points are a CSV file with the columns x, y, z in mm, LPS, as antsApplyTransformsToPoints has them,
or a .mrk.json file of 3D Slicer.""")

ONE = "Data: give one of these"


def apply(
    registration: Annotated[Path, typer.Argument(help="The result folder of sacbnet register.")],
    onto: Annotated[
        Literal["fixed", "moving"], typer.Option(help="The image on which you want the result.")
    ],
    out: Annotated[Path, typer.Option(help="File to write.")],
    image: Annotated[
        Path | None, typer.Option(help="Image, interpolated linearly.", rich_help_panel=ONE)
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Label map.", rich_help_panel=ONE)] = None,
    points: Annotated[
        Path | None, typer.Option(help="Landmarks, CSV or .mrk.json.", rich_help_panel=ONE)
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Image whose grid the result gets, in the world of the --onto image. Default: the"
            " grid of the --onto image."
        ),
    ] = None,
    label_interpolation: Annotated[
        Literal["nearest", "onehot"],
        typer.Option(
            help="Interpolation of labels. nearest: the nearest voxel. onehot: each label is"
            " interpolated linearly, and the label with the largest value wins."
        ),
    ] = "nearest",
    fill: o.Fill = "auto",
    quiet: o.Quiet = False,
) -> None:
    """Carry further images, labels or points through a registration, in either direction."""
    given = [source for source in (image, labels, points) if source is not None]
    if len(given) != 1:
        raise typer.BadParameter(
            f"{len(given)} of --image, --labels and --points were given; give one"
        )
    if points is not None and reference is not None:
        raise typer.BadParameter("--reference is a grid for images and labels; points need none")
    if image is None and fill != "auto":
        raise typer.BadParameter(
            "--fill is an intensity of images; labels have 0, points have none"
        )

    from sacbnet.files import Claim, keep_inputs
    from sacbnet.io.images import save_image
    from sacbnet.io.points import load_points, save_points
    from sacbnet.registration.apply import Warper
    from sacbnet.registration.result import keep_result
    from sacbnet.spatial.resample import Interpolation

    keep_inputs([out], (*given, reference))
    keep_result(out, registration)
    claim = Claim.of(out)
    warper = Warper.of(registration)
    if points is not None:
        moved, outside = warper.points(load_points(points), onto)
        save_points(out, moved, claim)
        if outside:
            typer.echo(
                f"note: {outside} points are outside the grid of the transform; the affine part was"
                " used there",
                err=True,
            )
    else:
        interpolation: Interpolation = "linear" if image is not None else label_interpolation
        carried, filled = warper.image_counted(
            given[0],
            onto,
            interpolation,
            reference,
            fill,  # type: ignore[arg-type]
        )
        save_image(out, carried.data, carried, labels=labels is not None, claim=claim)
        for sentence in carried.warnings:
            typer.echo(f"note: {sentence}", err=True)
        if filled.voxels and not quiet:
            typer.echo(
                f"note: {filled.voxels} voxels ({filled.percent:.3g} %) lie outside {given[0]} and"
                f" hold {filled.value:g}",
                err=True,
            )
    if not quiet:
        typer.echo(f"written: {out}")
