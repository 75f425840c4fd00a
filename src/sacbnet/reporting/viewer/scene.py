"""What the viewer shows: of a result of `register`, or of any two images."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sacbnet.config.choices import AUTO
from sacbnet.errors import InputError
from sacbnet.imaging.background import fill_value
from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import carry, carry_counted
from sacbnet.io.images import load_image
from sacbnet.registration.apply import Warper, load_report
from sacbnet.registration.carrying import MUCH
from sacbnet.registration.report import RunReport
from sacbnet.registration.result import MOVED, MOVED_LABELS, RUN, UNCERTAINTY
from sacbnet.reporting.page.frame import Frame
from sacbnet.reporting.page.places import ends_of
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine

from .originals import Original, find_original

MOST_OUTLINES = 2  # label maps: they have a colour each, and a third one for both


@dataclass(frozen=True, eq=False)
class Shown:
    """An image in the frame in which the browser shows it.

    Parameters
    ----------
    name : str
        What it is: "fixed".
    image : Image
        The image.
    ends : tuple[float, float]
        The intensities that are black and white at the start.
    """

    name: str
    image: Image
    ends: tuple[float, float]

    @cached_property
    def frame(self) -> Frame:
        """The image's voxels with their axes towards right, anterior and superior."""
        return Frame.of(self.image.grid)


@dataclass(frozen=True, eq=False)
class Outline:
    """A label map whose borders are drawn.

    Parameters
    ----------
    name : str
        What it is: "labels of the fixed image".
    labels : Image
        The map, on the grid of the image over which it is drawn.
    """

    name: str
    labels: Image


@dataclass(frozen=True, eq=False)
class Scene:
    """What the viewer shows.

    Parameters
    ----------
    title : str
        The heading of the page.
    first : Shown
        The image whose planes are shown: the fixed image, or the first one of two.
    second : Shown or None
        What is compared with it, on the same grid: the moved image, or the second one of two.
    other : Shown or None
        The moving image, or the second one of two, on its own grid.
    names : tuple[str, str]
        What the images are whose points a click shows: ("fixed", "moving").
    other_grid : Grid
        The grid of `other`, which is known even if its image is missing.
    warper : Warper or None, default None
        The transform in both directions; None: the headers alone relate the two images.
    outlines : tuple of Outline, default ()
        Label maps on the grid of `first`, at most two.
    other_outlines : tuple of Outline, default ()
        The label map of `other`.
    error : Image or None, default None
        The expected error, mm, on the grid of `first`.
    report : RunReport or None, default None
        The account of the registration.
    notes : tuple of str, default ()
        Sentences on what is missing or not sure.
    """

    title: str
    first: Shown
    second: Shown | None
    other: Shown | None
    names: tuple[str, str]
    other_grid: Grid
    warper: Warper | None = None
    outlines: tuple[Outline, ...] = ()
    other_outlines: tuple[Outline, ...] = ()
    error: Image | None = None
    report: RunReport | None = None
    notes: tuple[str, ...] = ()


def scene_of_result(
    folder: Path,
    labels: Sequence[Path] = (),
    fixed: Path | None = None,
    moving: Path | None = None,
) -> Scene:
    """Read the result of a registration, and the images that it came from.

    Parameters
    ----------
    folder : Path
        A folder that `register` wrote.
    labels : sequence of Path, default ()
        Label maps in the world of the fixed image. Without any, those of the result.
    fixed, moving : Path or None, default None
        Where the two images are now, if they are no longer where run.json says.

    Returns
    -------
    Scene
        What is shown. An image that is not found is left out, and a note says so.

    Raises
    ------
    InputError
        If the folder holds no result, or a file of it cannot be read.
    """
    report = load_report(folder / RUN) if (folder / RUN).is_file() else None
    with ThreadPoolExecutor() as pool:  # most of the time goes into unpacking
        warper = pool.submit(Warper.of, folder)  # it says what is missing in the folder
        if report is None:
            warper.result()
            raise InputError(f"{folder} holds no {RUN}")
        moved = pool.submit(load_image, folder / MOVED)
        f = pool.submit(find_original, "fixed image", report.fixed, folder, fixed)
        m = pool.submit(find_original, "moving image", report.moving, folder, moving)
        known = {
            name: pool.submit(find_original, _map_of(name), facts, folder, None, "labels")
            for name, facts in report.companions.items()
            if name.endswith("_labels")
        }
        originals = {name: found.result() for name, found in known.items()}
    fixed_image, moving_image = f.result(), m.result()
    return _result(
        folder,
        report,
        warper.result(),
        moved.result(),
        fixed_image,
        moving_image,
        originals,
        labels,
    )


def _result(
    folder: Path,
    report: RunReport,
    warper: Warper,
    moved: Image,
    fixed: Original,
    moving: Original,
    companions: dict[str, Original],
    labels: Sequence[Path],
) -> Scene:
    notes = [x.missing for x in (fixed, moving, *companions.values()) if x.missing]
    lost = [f"--{name}" for name, x in (("fixed", fixed), ("moving", moving)) if x.missing]
    if lost:
        notes.append(f"{' and '.join(lost)} can say where an image is now.")
    other = None if moving.image is None else _shown("moving", moving.image)
    ends = _ends(moved) if other is None else other.ends
    second: Shown | None = Shown("moved", moved, ends)
    if fixed.image is not None:
        first = _shown("fixed", fixed.image)
    else:
        first, second = Shown("moved", moved, ends), None
    outlines = _outlines(labels, first.image)
    if not labels:
        given = companions.get("fixed_labels")
        if given is not None and given.image is not None:
            outlines.append(Outline("labels of the fixed image", given.image))
        if (folder / MOVED_LABELS).is_file():
            carried = load_image(folder / MOVED_LABELS, "labels")
            outlines.append(Outline("labels of the moving image, moved", carried))
    of_moving = companions.get("moving_labels")
    error = folder / UNCERTAINTY
    names = tuple(Path(facts.name).name for facts in (report.moving, report.fixed))
    return Scene(
        title=f"{names[0]} registered to {names[1]}",
        first=first,
        second=second,
        other=other,
        names=("fixed", "moving"),
        other_grid=warper.moving,
        warper=warper,
        outlines=tuple(outlines),
        other_outlines=(
            (Outline("labels of the moving image", of_moving.image),)
            if other is not None and of_moving is not None and of_moving.image is not None
            else ()
        ),
        error=load_image(error) if error.is_file() else None,
        report=report,
        notes=tuple(notes),
    )


def scene_of_pair(first: Path, second: Path, labels: Sequence[Path] = ()) -> Scene:
    """Read any two images; their headers alone say how they lie to each other.

    Parameters
    ----------
    first, second : Path
        The images, of any format that can be read.
    labels : sequence of Path, default ()
        Label maps in the same world, at most two.

    Returns
    -------
    Scene
        What is shown.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    with ThreadPoolExecutor() as pool:
        a, b = pool.map(load_image, (first, second))
    one, other = _shown("first", a), _shown("second", b)
    if b.grid.matches(a.grid):
        carried, notes = b, []
    else:
        fill = fill_value(b.data, AUTO, b.missing)
        carried, filled = carry_counted(b, a, Affine(), "linear", fill)
        notes = ["The second image is interpolated onto the grid of the first one, by the headers."]
        if filled.percent > MUCH:
            notes.append(
                f"{filled.percent:.0f} % of the first image lie outside the second one, by the"
                " headers."
            )
    return Scene(
        title=f"{first.name} and {second.name}",
        first=one,
        second=Shown("second", carried, other.ends),
        other=other,
        names=("first", "second"),
        other_grid=b.grid,
        outlines=tuple(_outlines(labels, a)),
        notes=tuple(notes),
    )


def _map_of(companion: str) -> str:
    return f"label map of the {companion.removesuffix('_labels')} image"


def _shown(name: str, image: Image) -> Shown:
    return Shown(name, image, _ends(image))


def _ends(image: Image) -> tuple[float, float]:
    return ends_of(image.scaling)


def _outlines(labels: Sequence[Path], onto: Image) -> list[Outline]:
    if len(labels) > MOST_OUTLINES:
        raise InputError(
            f"{len(labels)} label maps were given; at most {MOST_OUTLINES} can be told apart: leave"
            " some out"
        )
    found = []
    for path in labels:
        image = load_image(path, "labels")
        if not image.grid.matches(onto.grid):
            image = carry(image, onto, Affine(), "nearest")
        found.append(Outline(path.name, image))
    return found
