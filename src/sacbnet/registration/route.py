"""The way from a reference image to data, over one or several transforms, in one interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sacbnet.config.choices import AUTO, Fill
from sacbnet.imaging.background import fill_value
from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.imaging.resampling import Filled
from sacbnet.spatial.composition import AnyTransform, composed
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.invert import invert
from sacbnet.spatial.resample import SMOOTH, Interpolation
from sacbnet.spatial.transforms import Chain, DisplacementField, PointMap, chain

from .carrying import Backwards, GoingOn, apart_mm, carry_onto, reach_beyond
from .deliver import inverse_grid


@dataclass(frozen=True, eq=False)
class Link:
    """One transform of a route, and the way back.

    Parameters
    ----------
    name : str
        The transform in the sentences: a file or folder.
    there : callable
        Maps points from the side of the reference to the side of the data.
    back : callable
        Maps points the other way.
    data : str, default "the last transform"
        To what the data belong, in the sentences.
    """

    name: str
    there: PointMap
    back: PointMap
    data: str = "the last transform"

    def turned(self, name: str) -> Link:
        """Give the inverse.

        Parameters
        ----------
        name : str
            Its name.

        Returns
        -------
        Link
            The same transform the other way round.
        """
        return Link(name, self.back, self.there)


@dataclass(frozen=True, eq=False)
class Route:
    """The way from a reference image to data, over one or several transforms.

    Images, labels and points travel from the data to the reference.

    Parameters
    ----------
    links : tuple of Link
        The transforms, in the order in which a point of the reference meets them: the first one
        leads away from the reference, the last one arrives at the data. `antsApplyTransforms` takes
        its transforms in the same order.
    """

    links: tuple[Link, ...] = field(repr=False)

    @property
    def there(self) -> PointMap:
        """Maps points of the reference to points of the data."""
        return chain(*(link.there for link in reversed(self.links)))

    @property
    def back(self) -> PointMap:
        """Maps points of the data to points of the reference."""
        return chain(*(link.back for link in self.links))

    def image(
        self,
        image: Image,
        reference: Image,
        interpolation: Interpolation = "linear",
        fill: Fill = AUTO,
    ) -> tuple[Image, Filled]:
        """Carry an image or a label map onto a reference, interpolated once.

        Parameters
        ----------
        image : Image
            The image or label map.
        reference : Image
            Gives the grid of the result; its values do not matter.
        interpolation : {"linear", "nearest", "cubic", "lanczos", "onehot"}, default "linear"
            How values between voxels are found; "nearest" or "onehot" for labels.
        fill : float or "auto", default "auto"
            Intensity where nothing of the image arrives. "auto": the image's own background. Labels
            have 0 there.

        Returns
        -------
        image : Image
            The image; its `warnings` say where the result is not sure.
        filled : Filled
            How many voxels of the result lie outside the image, and what they hold.

        Raises
        ------
        InputError
            If nothing of the image arrives.
        """
        carried = self.series((image,), reference, interpolation, fill)
        return carried[0]

    def series(
        self,
        volumes: Sequence[Image],
        reference: Image,
        interpolation: Interpolation = "linear",
        fill: Fill = AUTO,
    ) -> list[tuple[Image, Filled]]:
        """Carry several volumes on one grid onto a reference, each as `image` carries it alone.

        Parameters
        ----------
        volumes : sequence of Image
            The volumes, on one grid.
        reference, interpolation, fill
            As for `image`.

        Returns
        -------
        list of (Image, Filled)
            As of `image`, for each volume.

        Raises
        ------
        InputError
            If nothing of a volume arrives.
        """
        there, said = self.over(reference.grid)
        if interpolation in ("cubic", "lanczos"):  # no compiled kernel walks the chain for them
            there = DisplacementField.from_map(there, reference.grid)
        out = []
        for volume in volumes:
            smooth = interpolation in SMOOTH
            value = fill_value(volume.data, fill, volume.missing) if smooth else 0.0
            carried, filled = carry_onto(
                volume,
                reference,
                there,
                interpolation,
                value,
                world=self.links[-1].data,
                off_mm=lambda image=volume: apart_mm(self.back, image.grid, reference.grid),  # type: ignore[misc]
            )
            out.append((replace(carried, warnings=(*said, *carried.warnings)), filled))
        return out

    def points(self, points: Points) -> tuple[Points, int]:
        """Carry points of the data to the reference: the same way as images travel.

        Parameters
        ----------
        points : Points
            Points in the world of the data.

        Returns
        -------
        points : Points
            The same points in the world of the reference.
        outside : int
            How many of them left the grid of a displacement field on their way.
        """
        xyz, outside = walk(self.back, points.xyz)
        return replace(points, xyz=xyz), int(outside.sum())

    def parts(self) -> AnyTransform:
        """Give the map as affines and fields, wherever it is used.

        Returns
        -------
        Affine, DisplacementField or Chain
            The map from the reference to the data. Inverses of fields are fields in it.
        """
        maps: list[PointMap] = []
        for part in _flat(self.there):
            dense = _dense(part) if isinstance(part, Backwards) else part
            maps.append(dense.everywhere if isinstance(dense, GoingOn) else dense)
        return composed(*maps)

    def over(self, target: Grid) -> tuple[AnyTransform, tuple[str, ...]]:
        """Give the map for the voxels of a grid, of affines and fields only.

        Parameters
        ----------
        target : Grid
            The grid, in the world of the reference.

        Returns
        -------
        point_map : Affine, DisplacementField or Chain
            The map from the reference to the data. Inverses of fields are fields in it.
        said : tuple of str
            Sentences that say how far the grid reaches beyond the fields.
        """
        maps: list[PointMap] = []
        said: list[str] = []
        corners = target.corners
        for link in self.links:
            for found in _flat(link.there)[::-1]:
                part = _dense(found) if isinstance(found, Backwards) else found
                known = part.field if isinstance(part, GoingOn) else part
                far = reach_beyond(known, corners) if isinstance(known, DisplacementField) else 0.0
                if far:
                    said.append(_beyond(link.name, far, isinstance(part, GoingOn)))
                if isinstance(part, GoingOn):
                    part = part.everywhere if far else known
                corners = part(corners)
                maps.append(part)
        return composed(*maps[::-1]), tuple(said)


def _beyond(name: str, far_mm: float, affine: bool) -> str:
    how = "the affine part" if affine else "the displacement of its edge"
    return f"the result reaches {far_mm:.3g} mm beyond the grid of {name}; {how} was used there"


def walk(
    point_map: PointMap, points: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Map points, and tell which of them leave the grid of a displacement field on their way.

    Parameters
    ----------
    point_map : callable
        The map.
    points : ndarray, shape (n, 3)
        World points, mm.

    Returns
    -------
    points : ndarray, shape (n, 3)
        The mapped points.
    outside : ndarray of bool, shape (n,)
        True for points at which no field was known.
    """
    at, outside = np.asarray(points, dtype=np.float64), np.zeros(len(points), dtype=bool)
    for part in _flat(point_map)[::-1]:
        before, at = at, part(at)
        if isinstance(part, (DisplacementField, GoingOn)):
            known = part.field if isinstance(part, GoingOn) else part
            outside |= ~known.grid.contains(before)
        elif isinstance(part, Backwards):
            outside |= ~part.field.grid.contains(at)
    return at, outside


def _flat(point_map: PointMap) -> list[PointMap]:
    """The parts of a map, outermost first."""
    if isinstance(point_map, Chain):
        return [part for m in point_map.maps for part in _flat(m)]
    return [point_map]


def _dense(back: Backwards) -> PointMap:
    """The inverse of a field as a field, on its own lattice extended to all that it reaches."""
    grid = back.field.grid
    lattice = inverse_grid(grid, back.field, float(grid.spacing.min()))
    return invert(back.field, grid, lattice, back.guess).field
