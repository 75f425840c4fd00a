"""Apply a finished registration to further images, labels and points, in either direction."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.imaging.resampling import carry
from sacbnet.io.images import ImageSource, load_image, load_reference
from sacbnet.io.transforms import load_displacement
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import Interpolation
from sacbnet.spatial.transforms import DisplacementField

from .report import RunReport
from .result import INVERSE, RUN, TRANSFORM, Registration

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
    """

    transform: DisplacementField
    inverse: DisplacementField
    fixed: Grid
    moving: Grid

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
            return cls(r.transform, r.inverse, r.fixed_grid, r.moving_grid)
        folder = Path(registration)
        if not os.path.isdir(folder):
            raise InputError(
                f"{folder} is no folder; the output folder of sacbnet register was expected"
            )
        for name in (TRANSFORM, INVERSE, RUN):
            if not (folder / name).is_file():
                raise InputError(
                    f"{folder} holds no {name}; the output folder of sacbnet register was expected"
                )
        report = load_report(folder / RUN)
        transform, inverse = (load_displacement(folder / name) for name in (TRANSFORM, INVERSE))
        return cls(transform, inverse, report.fixed.grid, report.moving.grid)

    def image(
        self,
        source: ImageSource,
        onto: Side,
        interpolation: Interpolation = "linear",
        reference: ImageSource | None = None,
    ) -> Image:
        """Carry an image or a label map of one side onto the other.

        Parameters
        ----------
        source : ImageSource
            The image or label map, in the world of the side that is not `onto`.
        onto : {"fixed", "moving"}
            The side on which it is wanted.
        interpolation : {"linear", "nearest", "onehot"}, default "linear"
            "linear" for images; "nearest" or "onehot" for labels.
        reference : ImageSource or None, default None
            An image whose grid is taken, in the world of `onto`; None: the grid of `onto`.

        Returns
        -------
        Image
            The image, interpolated once.

        Raises
        ------
        InputError
            If an image cannot be read or used.
        """
        image = load_image(source, "image" if interpolation == "linear" else "labels")
        grid = self.fixed if onto == "fixed" else self.moving
        if reference is None:
            like = Image(np.empty(grid.shape, np.uint8), grid)
        else:
            like = load_reference(reference)
        return carry(
            image, like, self.transform if onto == "fixed" else self.inverse, interpolation
        )

    def points(self, points: Points, onto: Side) -> tuple[Points, int]:
        """Carry points of one side onto the other.

        Points go the other way than images: points of the moving image go through the inverse.
        Outside the transform's box the displacement of its edge is used, which other tools take as
        zero.

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
        field = self.inverse if onto == "fixed" else self.transform
        outside = int((~field.grid.contains(points.xyz)).sum()) if len(points.xyz) else 0
        return replace(points, xyz=field(points.xyz)), outside


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
