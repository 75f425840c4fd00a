"""sacbnet apply"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import options as o

if TYPE_CHECKING:
    from sacbnet.files import Claim
    from sacbnet.imaging.image import Image
    from sacbnet.imaging.resampling import Filled
    from sacbnet.io.series import Series
    from sacbnet.registration.route import Route

EPILOG = o.epilog("""[bold]Examples[/bold]

sacbnet apply result --image b_pet.nii.gz --onto fixed --out pet_on_a.nii.gz

sacbnet apply result --labels a_seg.nii.gz --onto moving --out seg_on_b.nii.gz

sacbnet apply result --points b.mrk.json --onto fixed --out points_on_a.csv

sacbnet apply --transform b_to_template.h5,inverse --transform result --reference b.nii.gz --image
c.nii.gz --out c_on_b.nii.gz

[bold]Direction[/bold]

With a result folder, --onto names the image on which you want the result. The given file belongs to
the other image. With --transform, the result lies on the reference, and the given file belongs to
the moving image of the last transform. Points travel the same way as images.

[bold]Order of --transform[/bold]

From the reference to the data: the first transform leads away from the reference, the last one
arrives at the data. antsApplyTransforms takes its -t in the same order. NAME,inverse stands for the
inverse. All transforms are composed, and the data are interpolated once.

[bold]Points[/bold]

Points are a CSV file with the columns x, y, z in mm, LPS, as antsApplyTransformsToPoints has them,
or a .mrk.json file of 3D Slicer.""")

ONE = "Data: give one of these"
WAY = "Way: a result folder with --onto, or --transform with --reference"


def apply(
    out: Annotated[Path, typer.Option(help="File to write.")],
    registration: Annotated[
        Path | None, typer.Argument(help="The result folder of sacbnet register.")
    ] = None,
    onto: Annotated[
        Literal["fixed", "moving"] | None,
        typer.Option(
            help="With a result folder: the image on which you want the result.",
            rich_help_panel=WAY,
        ),
    ] = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(
            help="A transform: a file of ITK, ANTs, 3D Slicer, FSL, FreeSurfer or AFNI, or a result"
            " folder; NAME,inverse stands for its inverse. Repeat it for a chain, in the order from"
            " the reference to the data.",
            metavar="NAME[,inverse]",
            rich_help_panel=WAY,
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Image whose grid the result gets. With a result folder: an image in the world of"
            " the --onto image; default there: the grid of the --onto image.",
            rich_help_panel=WAY,
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            help="Image. A 4-D NIfTI file is carried volume by volume.", rich_help_panel=ONE
        ),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Label map.", rich_help_panel=ONE)] = None,
    points: Annotated[
        Path | None,
        typer.Option(
            help="Landmarks (.csv, .mrk.json), or a surface mesh (.gii, .vtk, .stl).",
            rich_help_panel=ONE,
        ),
    ] = None,
    interpolation: Annotated[
        Literal["linear", "nearest", "cubic", "lanczos", "onehot"] | None,
        typer.Option(
            "--interpolation",
            "--label-interpolation",
            help="Interpolation. Images: linear (default), cubic (B-spline) or lanczos (windowed"
            " sinc). Labels: nearest (default), or onehot: each label is interpolated linearly, and"
            " the label with the largest value wins.",
        ),
    ] = None,
    frame: Annotated[
        Literal["LPS", "RAS"] | None,
        typer.Option(help="Frame of a .vtk or .stl mesh that states none. Default: LPS."),
    ] = None,
    fill: o.Fill = "auto",
    quiet: o.Quiet = False,
) -> None:
    """Carry images, labels or points through a registration, or through any chain of transforms."""
    given = [source for source in (image, labels, points) if source is not None]
    _check(given, registration, onto, transform, reference, points, interpolation, labels, fill)

    from sacbnet.config.choices import AUTO
    from sacbnet.config.registration import intensity
    from sacbnet.files import Claim, keep_inputs
    from sacbnet.io.images import load_image, load_reference
    from sacbnet.io.points import load_points, save_points
    from sacbnet.io.series import load_series
    from sacbnet.io.surfaces import is_surface
    from sacbnet.registration.apply import Warper
    from sacbnet.registration.given import bare, route_of
    from sacbnet.registration.result import keep_result

    names = [bare(name) for name in transform or ()]
    keep_inputs([out], (*given, reference, *(name for name in names if name.is_file())))
    for folder in (registration, *(name for name in names if name.is_dir())):
        if folder is not None:
            keep_result(out, folder)
    place = _place_of_dose(out, image, registration, onto, reference)
    claim = Claim.of(out)
    like = None if reference is None else load_reference(reference)
    warper = None
    if registration is not None and onto is not None:
        warper = Warper.of(registration)
        like = like or warper.like(onto)
    if points is not None:
        route = warper.route(onto) if warper and onto else None
        route = route or route_of(transform or (), None if like is None else like.grid)
        if is_surface(points):
            outside = _surface(out, points, frame, route, claim)
        else:
            moved, outside = route.points(load_points(points))
            save_points(out, moved, claim)
        if outside:
            typer.echo(
                f"note: {outside} points are outside the grid of the transform; the affine part was"
                " used there",
                err=True,
            )
    else:
        series = load_series(given[0]) if labels is None else None
        volumes = series.volumes if series else (load_image(labels, "labels"),)
        assert like is not None
        route = warper.route(onto) if warper and onto else None
        route = route or route_of(transform or (), like.grid, volumes[0].grid)
        how = interpolation or ("linear" if series else "nearest")
        unit = _unit_of_dose(image, quiet)
        told = intensity("fill", fill) if fill != AUTO else 0.0 if unit else AUTO
        carried = route.series(volumes, like, how, told)  # type: ignore[arg-type]
        if place is not None and image is not None:
            _write_dose(out, carried[0][0], image, place, claim)
        _write(out, given[0], carried, series, claim, quiet, written=place is not None)
    if not quiet:
        typer.echo(f"written: {out}")


def _surface(
    out: Path, source: Path, frame: Literal["LPS", "RAS"] | None, route: Route, claim: Claim
) -> int:
    """Carry a surface mesh; the number of vertices beyond the fields."""
    from dataclasses import replace

    from sacbnet.errors import InputError
    from sacbnet.imaging.points import Points
    from sacbnet.io.surfaces import load_surface, save_surface

    mesh = load_surface(source)
    if frame is not None:
        if mesh.stated and frame != mesh.frame:
            raise InputError(f"{source} states the frame {mesh.frame}; leave out --frame {frame}")
        mesh = replace(mesh, frame=frame, notes=mesh.notes if mesh.stated else mesh.notes[1:])
    moved, outside = route.points(Points(mesh.xyz))
    save_surface(out, source, mesh, moved.xyz, claim)
    for note in mesh.notes:
        typer.echo(f"note: {note}", err=True)
    return outside


def _place_of_dose(
    out: Path,
    image: Path | None,
    registration: Path | None,
    onto: Literal["fixed", "moving"] | None,
    reference: Path | None,
) -> str | None:
    """The DICOM image on which a dose will lie; None if the result is not written as DICOM."""
    if not out.name.lower().endswith(".dcm"):
        return None
    from sacbnet.io.dicom_dose import check_dose_out
    from sacbnet.registration.apply import load_report
    from sacbnet.registration.result import RUN

    place = None if reference is None else str(reference)
    if place is None and registration is not None and (registration / RUN).is_file():
        report = load_report(registration / RUN)
        place = (report.fixed if onto == "fixed" else report.moving).name
    check_dose_out(out, image, place)
    return place


def _unit_of_dose(image: Path | None, quiet: bool) -> str | None:
    """The unit of a dose, which is told; None for other data."""
    from sacbnet.io.format import ImageFormat
    from sacbnet.io.formats.dicom import Dicom
    from sacbnet.io.table import reader

    if image is None or not image.exists() or not isinstance(reader(ImageFormat, image), Dicom):
        return None
    from sacbnet.io.dicom_dose import dose_units

    unit = dose_units(image)
    if unit is not None and not quiet:
        words = "Gy" if unit == "GY" else "the relative unit of its file"
        typer.echo(f"note: {image} is a dose; the result is in {words}, 0 outside it", err=True)
    return unit


def _write_dose(out: Path, dose: Image, source: Path, place: str, claim: Claim) -> None:
    from sacbnet.io.dicom_dose import save_dose

    below = save_dose(out, dose, source, place, claim)
    if below:
        typer.echo(
            f"note: {below} voxels were below 0 Gy after interpolation; they hold 0", err=True
        )


def _check(
    given: list[Path],
    registration: Path | None,
    onto: str | None,
    transform: list[str] | None,
    reference: Path | None,
    points: Path | None,
    interpolation: str | None,
    labels: Path | None,
    fill: str,
) -> None:
    """Refuse options that do not stand together."""
    wrong = None
    fit = ("nearest", "onehot") if labels is not None else ("linear", "cubic", "lanczos")
    if len(given) != 1:
        wrong = f"{len(given)} of --image, --labels and --points were given; give one"
    elif (registration is None) == (not transform):
        wrong = "give a result folder (with --onto), or --transform (with --reference)"
    elif registration is not None and onto is None:
        wrong = "--onto is missing: fixed or moving, the image on which you want the result"
    elif transform and onto is not None:
        wrong = "--onto belongs to a result folder; with --transform give --reference"
    elif transform and reference is None and points is None:
        wrong = "--reference is missing: the image whose grid the result gets"
    elif points is not None and reference is not None and not transform:
        wrong = "--reference is a grid for images and labels; points need none"
    elif fill != "auto" and (points is not None or labels is not None):
        wrong = "--fill is an intensity of images; labels have 0, points have none"
    elif interpolation is not None and points is not None:
        wrong = "--interpolation is of images and labels; points need none"
    elif interpolation is not None and interpolation not in fit:
        kind = "images" if labels is None else "labels"
        wrong = f"--interpolation is {interpolation}; {kind} take one of {', '.join(fit)}"
    if wrong is not None:
        raise typer.BadParameter(wrong)


def _write(
    out: Path,
    source: Path,
    carried: list[tuple[Image, Filled]],
    series: Series | None,
    claim: Claim,
    quiet: bool,
    written: bool = False,
) -> None:
    """Write the result, unless it is written, and say where it is not sure."""
    from sacbnet.io.images import save_image
    from sacbnet.io.series import save_series

    first, filled = carried[0]
    if written:
        pass
    elif series is None or series.header is None:
        save_image(out, first.data, first, labels=series is None, claim=claim)
    else:
        save_series(out, [image.data for image, _ in carried], first, series.header, claim)
    for sentence in dict.fromkeys(said for image, _ in carried for said in image.warnings):
        typer.echo(f"note: {sentence}", err=True)
    if filled.voxels and not quiet:
        typer.echo(
            f"note: {filled.voxels} voxels ({filled.percent:.3g} %) lie outside {source} and"
            f" hold {filled.value:g}",
            err=True,
        )
