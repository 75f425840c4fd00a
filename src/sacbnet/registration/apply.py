"""Apply a finished registration to further images, labels and points, in either direction."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np

from sacbnet.config.choices import AUTO, Fill
from sacbnet.config.registration import intensity
from sacbnet.errors import InputError
from sacbnet.imaging.background import fill_value
from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.imaging.resampling import Filled, carry_counted
from sacbnet.io.images import ImageSource, load_image, load_reference
from sacbnet.io.transforms import load_affine, load_displacement
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import Interpolation
from sacbnet.spatial.transforms import Affine, Chain, DisplacementField, chain

from .report import RunReport
from .result import AFFINE, INVERSE, RUN, TRANSFORM, Registration

Side = Literal["fixed", "moving"]
MUCH = 50.0  # per cent of a result at which nothing of the image arrived: a warning says so


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
        interpolation : {"linear", "nearest", "onehot"}, default "linear"
            "linear" for images; "nearest" or "onehot" for labels.
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
        image = load_image(source, "image" if interpolation == "linear" else "labels")
        grid = self.fixed if onto == "fixed" else self.moving
        if reference is None:
            like = Image(np.empty(grid.shape, np.uint8), grid)
        else:
            like = load_reference(reference)
        point_map, said = self._map(onto, like.grid)
        value = fill_value(image.data, fill, image.missing) if interpolation == "linear" else 0.0
        carried, filled = carry_counted(image, like, point_map, interpolation, value)
        world = "moving" if onto == "fixed" else "fixed"
        if filled.voxels == carried.data.size:
            raise InputError(
                f"nothing of {image.name} arrives on the grid of the result: its centre lands"
                f" {self._off(onto, image.grid, like.grid):.0f} mm from that of the grid; check"
                f" that it belongs to the world of the {world} image"
            )
        if filled.percent > MUCH:
            said += (
                f"{filled.percent:.0f} % of the result lie outside {image.name}; check that it"
                f" belongs to the world of the {world} image",
            )
        return replace(carried, warnings=said), filled

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
        field = self.inverse if onto == "fixed" else self.transform
        beyond = ~field.grid.contains(points.xyz) if len(points.xyz) else np.zeros(0, dtype=bool)
        xyz = field(points.xyz)
        if beyond.any():
            affine = self._affine_of(field)
            xyz[beyond] = _going_on(field, affine)(points.xyz[beyond])
        return replace(points, xyz=xyz), int(beyond.sum())

    def _affine_of(self, field: DisplacementField) -> Affine | None:
        """The affine part of the transform, or of the inverse."""
        if self.affine is None:
            return None
        return self.affine if field is self.transform else self.affine.inverse

    def _map(self, onto: Side, target: Grid) -> tuple[DisplacementField | Chain, tuple[str, ...]]:
        """The map from the grid of a result, and a sentence if the grid reaches too far."""
        field = self.transform if onto == "fixed" else self.inverse
        corners = target.corners
        beyond = ~field.grid.contains(corners)
        if not beyond.any():
            return field, ()
        edge = np.clip(field.grid.voxels(corners), 0, np.array(field.grid.shape) - 1)
        far = float(np.linalg.norm(field.grid.world(edge) - corners, axis=1).max())
        affine = self._affine_of(field)
        how = "the displacement of its edge" if affine is None else "the affine part"
        beyond_by = f"the result reaches {far:.3g} mm beyond the grid of the transform"
        return _going_on(field, affine), (f"{beyond_by}; {how} was used there",)

    def _off(self, onto: Side, image: Grid, target: Grid) -> float:
        """How far the image's centre is mapped from the centre of the result, mm."""
        back = self.inverse if onto == "fixed" else self.transform
        there = _going_on(back, self._affine_of(back))(image.centre[None])[0]
        return float(np.linalg.norm(there - target.centre))


def _going_on(field: DisplacementField, affine: Affine | None) -> DisplacementField | Chain:
    """A field that goes on outside its grid as its affine part, without a jump.

    Inside it is the same map, up to rounding. The field is written as the affine after the
    displacement that remains. Outside, the latter keeps the value of the nearest edge.
    """
    if affine is None:
        return field
    rest = DisplacementField.from_map(chain(affine.inverse, field), field.grid)
    return chain(affine, rest)


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
