"""Apply a finished registration to further images, labels and points, in either direction."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from sacbnet.config.choices import AUTO, Fill
from sacbnet.config.registration import intensity
from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.imaging.resampling import Filled
from sacbnet.io.images import ImageSource, load_image, load_reference
from sacbnet.io.transforms import load_affine, load_displacement
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import SMOOTH, Interpolation
from sacbnet.spatial.transforms import Affine, DisplacementField

from .carrying import GoingOn
from .report import RunReport
from .result import AFFINE, INVERSE, RUN, TRANSFORM, Registration
from .route import Link, Route

Side = Literal["fixed", "moving"]


@dataclass(frozen=True, eq=False)
class Warper:
    """Both directions of a registration, and the grids of its two images.

    Parameters
    ----------
    transform : DisplacementField
        World coordinates of the fixed image -> world coordinates of the moving image, mm RAS.
    inverse : DisplacementField
        The way back.
    fixed, moving : Grid
        Grids of the two images.
    affine : Affine or None, default None
        The affine part of the transform. Outside the grid of a field it goes on, added to the
        displacement that remains at the nearest edge. None: the whole displacement of the edge is
        used there.
    """

    transform: DisplacementField
    inverse: DisplacementField
    fixed: Grid
    moving: Grid
    affine: Affine | None = None

    @classmethod
    def of(cls, registration: Registration | str | Path) -> Self:
        """Take a registration, or the folder that one was saved in.

        Parameters
        ----------
        registration : Registration, str or Path
            The registration.

        Returns
        -------
        Warper
            Both directions.

        Raises
        ------
        InputError
            If the folder lacks a file, or a file cannot be read.
        """
        if isinstance(registration, Registration):
            r = registration
            return cls(r.transform, r.inverse, r.fixed_grid, r.moving_grid, r.affine)
        folder = Path(registration)
        if not os.path.isdir(folder):
            raise InputError(
                f"{folder} is no folder; the output folder of sacbnet register was expected"
            )
        for name in (TRANSFORM, INVERSE, AFFINE, RUN):
            if not (folder / name).is_file():
                raise InputError(
                    f"{folder} holds no {name}; the output folder of sacbnet register was expected"
                )
        report = load_report(folder / RUN)
        transform, inverse = (load_displacement(folder / name) for name in (TRANSFORM, INVERSE))
        affine = load_affine(folder / AFFINE)
        return cls(transform, inverse, report.fixed.grid, report.moving.grid, affine)

    def image(
        self,
        source: ImageSource,
        onto: Side,
        interpolation: Interpolation = "linear",
        reference: ImageSource | None = None,
        fill: Fill = AUTO,
    ) -> Image:
        """Carry an image or a label map of one side onto the other.

        Where nothing of the image arrives, an image holds `fill` and a label map holds 0.

        Parameters
        ----------
        source : ImageSource
            The image or label map, in the world of the side that is not `onto`.
        onto : {"fixed", "moving"}
            The side on which it is wanted.
        interpolation : {"linear", "nearest", "cubic", "lanczos", "onehot"}, default "linear"
            "linear", "cubic" or "lanczos" for images; "nearest" or "onehot" for labels.
        reference : ImageSource or None, default None
            An image whose grid is taken, in the world of `onto`; None: the grid of `onto`. Its
            values do not matter.
        fill : float or "auto", default "auto"
            Intensity where nothing of the image arrives. "auto": the image's own background
            (`sacbnet.imaging.background`).

        Returns
        -------
        Image
            The image, interpolated once. Its `warnings` say where the result is not sure: voxels
            beyond what the transform covers, and a result that the image hardly reaches.

        Raises
        ------
        InputError
            If an image cannot be read or used, or if nothing of the image arrives.
        """
        return self.image_counted(source, onto, interpolation, reference, fill)[0]

    def image_counted(
        self,
        source: ImageSource,
        onto: Side,
        interpolation: Interpolation = "linear",
        reference: ImageSource | None = None,
        fill: Fill = AUTO,
    ) -> tuple[Image, Filled]:
        """Carry an image as `image` does, and count the voxels that it does not reach.

        Parameters
        ----------
        source, onto, interpolation, reference, fill
            As for `image`.

        Returns
        -------
        image : Image
            The image, interpolated once.
        filled : Filled
            How many voxels of the result lie outside the image, and what they hold.

        Raises
        ------
        InputError
            If an image cannot be read or used, or if nothing of the image arrives.
        """
        if fill != AUTO:
            fill = intensity("fill", fill)
        image = load_image(source, "image" if interpolation in SMOOTH else "labels")
        like = self.like(onto) if reference is None else load_reference(reference)
        return self.route(onto).image(image, like, interpolation, fill)

    def like(self, onto: Side) -> Image:
        """Give an image on the grid of a side, as the reference of a result.

        Parameters
        ----------
        onto : {"fixed", "moving"}
            The side.

        Returns
        -------
        Image
            An image; its voxels mean nothing.
        """
        grid = self.fixed if onto == "fixed" else self.moving
        return Image(np.empty(grid.shape, np.uint8), grid)

    def route(self, onto: Side, name: str = "the transform") -> Route:
        """Give the way by which images and points come onto a side.

        Parameters
        ----------
        onto : {"fixed", "moving"}
            The side.
        name : str, default "the transform"
            The registration in the sentences.

        Returns
        -------
        Route
            The way from this side, as the reference, to the other one.
        """
        return Route((self.link(onto, name),))

    def link(self, onto: Side, name: str) -> Link:
        """Give the registration as a link of a route; it goes on beyond the grids of its fields.

        Parameters
        ----------
        onto : {"fixed", "moving"}
            The side of the reference.
        name : str
            The registration in the sentences.

        Returns
        -------
        Link
            From this side to the other one.
        """
        here, other = (self.transform, self.inverse)[:: 1 if onto == "fixed" else -1]
        maps: list[DisplacementField | GoingOn] = []
        for field in (here, other):
            affine = self._affine_of(field)
            maps.append(field if affine is None else GoingOn(field, affine))
        there, back = maps
        return Link(name, there, back, f"the {'moving' if onto == 'fixed' else 'fixed'} image")

    def points(self, points: Points, onto: Side) -> tuple[Points, int]:
        """Carry points of one side onto the other.

        Points go the other way than images: points of the moving image go through the inverse.
        Outside the transform's box the affine part goes on, added to the displacement that remains
        at the nearest edge. Other tools take no displacement at all there.

        Parameters
        ----------
        points : Points
            Points in the world of the side that is not `onto`.
        onto : {"fixed", "moving"}
            The side on which they are wanted.

        Returns
        -------
        points : Points
            The points in the world of `onto`.
        outside : int
            How many of them lay outside the transform's box.
        """
        return self.route(onto).points(points)

    def _affine_of(self, field: DisplacementField) -> Affine | None:
        """The affine part of the transform, or of the inverse."""
        if self.affine is None:
            return None
        return self.affine if field is self.transform else self.affine.inverse


def load_report(path: str | Path) -> RunReport:
    """Read a run.json.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    RunReport
        The account of the registration.

    Raises
    ------
    InputError
        If the file cannot be read, or is no account of a registration.
    """
    try:
        return RunReport.from_text(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); register again") from error
    except InputError as error:
        raise InputError(f"{path}: {error}; register again") from error
