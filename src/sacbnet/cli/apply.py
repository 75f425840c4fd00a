"""sacbnet apply"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import options as o

EPILOG = """[bold]Examples[/bold]

sacbnet apply result --image b_pet.nii.gz --onto fixed --out pet_on_a.nii.gz

sacbnet apply result --labels a_atlas.nii.gz --onto moving --out atlas_on_b.nii.gz

sacbnet apply result --points b_landmarks.mrk.json --onto fixed --out landmarks_on_a.csv

--onto names the image on which the result is wanted; the file belongs to the other image. Points are CSV (x,y,z in
mm, LPS, as antsApplyTransformsToPoints has them) or 3D Slicer's .mrk.json."""


def apply(
    registration: Annotated[Path, typer.Argument(help="The output folder of sacbnet register.")],
    onto: Annotated[
        Literal["fixed", "moving"], typer.Option(help="The image on which the result is wanted.")
    ],
    out: Annotated[Path, typer.Option(help="File to write.")],
    image: Annotated[
        Path | None, typer.Option(help="An image, interpolated linearly.", rich_help_panel="One of")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A segmentation.", rich_help_panel="One of")
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="Landmarks.", rich_help_panel="One of")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Another grid to write on, in the world of the --onto image."),
    ] = None,
    label_interpolation: Annotated[
        Literal["nearest", "onehot"],
        typer.Option(help="nearest; or onehot: each label linearly, the largest wins."),
    ] = "nearest",
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

    from sacbnet.io.images import save_image
    from sacbnet.io.points import load_points, save_points
    from sacbnet.registration.apply import Warper
    from sacbnet.spatial.resample import Interpolation

    warper = Warper.of(registration)
    if points is not None:
        moved, outside = warper.points(load_points(points), onto)
        save_points(out, moved)
        if outside:
            typer.echo(
                f"note: {outside} points lay outside the transform's grid, where its edge was used",
                err=True,
            )
    else:
        interpolation: Interpolation = "linear" if image is not None else label_interpolation
        carried = warper.image(given[0], onto, interpolation, reference)
        save_image(out, carried.data, carried, labels=labels is not None)
    if not quiet:
        typer.echo(f"written: {out}")
