"""The unit in which a pair is worked: bodies of any size are brought to the size of a human's.

Spacings, steps and tolerances of the engine are in millimetres of a human body. A mouse, a section
under a microscope, or a header in metres is scaled by a power of ten before anything is computed,
and the result is scaled back. The same pair in another unit therefore gives the same result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sacbnet.config.choices import AffineKind
from sacbnet.errors import InputError
from sacbnet.imaging.canonical import rounded
from sacbnet.imaging.image import Image
from sacbnet.imaging.scaling import scaling_of
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

from .deliver import Repair
from .inputs import Inputs
from .landmarks import LandmarkFacts, Landmarks
from .report import RunReport, Steps
from .result import UNCERTAINTY, Registration

HUMAN_BODY, HUMAN_VOXEL = 150.0, 1.2  # mm: a head, and a voxel of its scan
HUMAN_BODIES, HUMAN_VOXELS = (35.0, 2000.0), (0.15, 8.0)  # mm: taken as they are
_FEW_ACROSS, _SMALLEST = 32, 5.0  # voxels, mm: a small crop of few voxels is taken as it is, too
_VOXELS_ACROSS = 128  # of a training image: the body of weights from their spacing
_FEWEST_ACROSS = 70  # voxels along a body: below, a network is far less exact
_APART, _VOXELS_APART = 0.75, 0.4  # decades: sizes of two images that cannot both be right
_QUANTUM_BITS = 16  # the affine is rounded to 2^-16 of a voxel
_SIDE = 96  # voxels along each axis that are looked at
_BALL = (6 / np.pi) ** (1 / 3)  # diameter of a ball of volume 1

Array = NDArray[np.float64]
X = TypeVar("X")


@dataclass(frozen=True)
class Size:
    """How large a body is, and its voxels.

    Parameters
    ----------
    body : float
        Diameter of a ball of the body's volume, mm.
    voxel : float
        Side of a cube of a voxel's volume, mm.
    length : float, default 0
        Length of the body: of an ellipsoid with the body's largest variance, mm.
    """

    body: float
    voxel: float
    length: float = 0.0

    @classmethod
    def of(cls, image: Image) -> Size:
        """Measure what an image shows.

        Parameters
        ----------
        image : Image
            The image.

        Returns
        -------
        Size
            Its body and its voxels.
        """
        step = tuple(slice(None, None, max(1, n // _SIDE)) for n in image.data.shape)
        some = image.data[step]
        missing = None if image.missing is None else image.missing[step]
        shown = scaling_of(some, missing).foreground(some, 0.1)
        voxel = image.grid.voxel_volume ** (1 / 3)
        body = _BALL * voxel * (shown.mean() * image.data.size) ** (1 / 3)
        points = (np.argwhere(shown) * [s.step or 1 for s in step]) @ image.grid.affine[:3, :3].T
        variance = np.linalg.eigvalsh(np.cov(points.T))[-1] if len(points) > 1 else 0.0
        return cls(float(body), float(voxel), float(2 * np.sqrt(5 * variance)))

    @property
    def decade(self) -> int:
        """The power of ten of the unit in which this body has the size of a human's, to 1 mm."""
        bodies, voxels = HUMAN_BODIES, HUMAN_VOXELS
        if bodies[0] <= self.body <= bodies[1] and voxels[0] <= self.voxel <= voxels[1]:
            return 0
        few = self.body < _FEW_ACROSS * self.voxel
        if few and _SMALLEST <= self.body <= bodies[1]:
            return 0
        body, voxel = np.log10(self.body / HUMAN_BODY), np.log10(self.voxel / HUMAN_VOXEL)
        return min(range(-12, 13), key=lambda k: (2 * abs(body - k) + abs(voxel - k), abs(k)))


@dataclass(frozen=True)
class Units:
    """Powers of ten between millimetres and the units in which a pair is worked.

    Parameters
    ----------
    fixed, moving : int, default 0
        One unit of the fixed and of the moving image is 10 to this power mm.
    length_mm : float or None, default None
        Length of the fixed body, mm; None: unknown.
    """

    fixed: int = 0
    moving: int = 0
    length_mm: float | None = None

    @property
    def plain(self) -> bool:
        """Whether both units are the millimetre."""
        return self.fixed == self.moving == 0

    @property
    def fixed_mm(self) -> float:
        """One unit of the fixed image, mm."""
        return float(10.0**self.fixed)

    @property
    def moving_mm(self) -> float:
        """One unit of the moving image, mm."""
        return float(10.0**self.moving)

    def inputs(self, inputs: Inputs) -> Inputs:
        """Express the images in these units.

        Parameters
        ----------
        inputs : Inputs
            The images, in mm.

        Returns
        -------
        Inputs
            The same voxels on grids in these units.
        """
        if self.plain:
            return inputs
        marks = inputs.landmarks
        if marks is not None:
            marks = Landmarks(
                _times(marks.fixed, -self.fixed), _times(marks.moving, -self.moving), marks.left_out
            )
        return Inputs(
            _image(inputs.fixed, -self.fixed),
            _image(inputs.moving, -self.moving),
            _image(inputs.fixed_mask, -self.fixed),
            _image(inputs.moving_mask, -self.moving),
            _image(inputs.fixed_labels, -self.fixed),
            _image(inputs.moving_labels, -self.moving),
            marks,
        )

    def transform(self, found: DisplacementField) -> DisplacementField:
        """Express a transform, found in these units, in mm.

        Parameters
        ----------
        found : DisplacementField
            The transform, fixed -> moving.

        Returns
        -------
        DisplacementField
            The same transform in mm.
        """
        return _field(found, self.fixed, self.moving)

    def affine(self, found: Affine) -> Affine:
        """Express an affine, found in these units, in mm.

        Parameters
        ----------
        found : Affine
            The affine, fixed -> moving.

        Returns
        -------
        Affine
            The same affine in mm.
        """
        if self.plain:
            return found
        matrix = found.matrix.copy()
        matrix[:3, :3] = _times(matrix[:3, :3], self.moving - self.fixed)
        matrix[:3, 3] = _times(matrix[:3, 3], self.moving)
        return Affine(matrix)

    def registration(self, found: Registration, inputs: Inputs) -> Registration:
        """Express a registration, made in these units, in mm.

        Parameters
        ----------
        found : Registration
            The registration.
        inputs : Inputs
            The images, in mm.

        Returns
        -------
        Registration
            The same registration in mm.
        """
        if self.plain:
            return found
        grid = inputs.fixed.grid
        maps = {name: replace(image, grid=grid) for name, image in found.maps.items()}
        if UNCERTAINTY in maps:
            image = maps[UNCERTAINTY]
            maps[UNCERTAINTY] = replace(image, data=image.data * np.float32(self.fixed_mm))
        labels = found.moved_labels
        transform = self.transform(found.transform)
        if grid.is_orthogonal:  # without the rounding of units
            transform = replace(transform, grid=grid)
        return Registration(
            replace(found.moved, grid=grid),
            transform,
            _field(found.inverse, self.moving, self.fixed),
            self.affine(found.affine),
            grid,
            inputs.moving.grid,
            self._report(found.report),
            None if labels is None else replace(labels, grid=grid),
            maps,
        )

    def _report(self, report: RunReport) -> RunReport:
        grid, back, unit = report.working_grid, report.inverse, self.fixed_mm
        network = grid.network_spacing_mm
        return replace(
            report,
            working_grid=replace(
                grid,
                spacing_mm=grid.spacing_mm * unit,
                network_spacing_mm=None if network is None else network * unit,
            ),
            inverse=replace(
                back,
                round_trip_mean_mm=back.round_trip_mean_mm * unit,
                round_trip_p95_mm=back.round_trip_p95_mm * unit,
                round_trip_max_mm=back.round_trip_max_mm * unit,
                residual_mean_mm=back.residual_mean_mm * self.moving_mm,
                residual_max_mm=back.residual_max_mm * self.moving_mm,
            ),
            repair=_repair(report.repair, unit),
            landmarks=_missed(report.landmarks, self.moving_mm),
        )


def units_of(inputs: Inputs, affine: AffineKind) -> tuple[Units, str | None]:
    """Choose the units of a pair by the sizes of what the images show.

    Parameters
    ----------
    inputs : Inputs
        The images, in mm.
    affine : {"none", "rigid", "affine"}
        Alignment before the network.

    Returns
    -------
    units : Units
        The units.
    warning : str or None
        A sentence if the sizes of the two images differ about tenfold or more.

    Raises
    ------
    InputError
        If the sizes differ so much, and the alignment is rigid.
    """
    f, m = Size.of(inputs.fixed), Size.of(inputs.moving)
    both = Size(float(np.sqrt(f.body * m.body)), float(np.sqrt(f.voxel * m.voxel))).decade
    body, voxel = np.log10(m.body / f.body), np.log10(m.voxel / f.voxel)
    if abs(body) < _APART or np.sign(body) * voxel < _VOXELS_APART:
        return Units(both, both, f.length), None
    differ = (
        f"the fixed image shows {f.body:.3g} mm and the moving image {m.body:.3g} mm, with voxels"
        f" of {f.voxel:.2g} and {m.voxel:.2g} mm: the voxel size in one header is probably wrong"
    )
    if affine == "none":
        return Units(both, both, f.length), differ
    if affine == "rigid":
        raise InputError(f"{differ}; correct it, or give --affine affine")
    ratio = round(float(body))
    return Units(
        f.decade, f.decade + ratio, f.length
    ), f"{differ}; a scale of 1e{ratio} was applied"


def network_spacing(trained: float, units: Units, finest: float) -> float:
    """Find the spacing at which a body has about as many voxels as those of the training.

    Parameters
    ----------
    trained : float
        Spacing of the training images, mm.
    units : Units
        Units of the pair.
    finest : float
        Finest spacing of the fixed image, in its unit.

    Returns
    -------
    float
        The spacing, in the unit of the fixed image. A body far shorter than those of the training
        gets a half or a quarter, down to what the image itself resolves.
    """
    decade = Size(_VOXELS_ACROSS * trained, trained).decade
    spacing = trained / 10.0**decade if decade >= 0 else trained * 10.0**-decade
    if units.length_mm is None:
        return spacing
    length = units.length_mm / units.fixed_mm
    for _ in range(2):
        if length < _FEWEST_ACROSS * spacing and spacing / 2 > 0.9 * finest:
            spacing /= 2
    return spacing


def _times(values: Array, decade: int) -> Array:
    """Times a power of ten. Division is exact where a negative power is not."""
    power = 10.0 ** abs(decade)
    return values * power if decade >= 0 else values / power


def _grid(grid: Grid, decade: int) -> Grid:
    affine = grid.affine.copy()
    affine[:3] = _times(affine[:3], decade)
    return Grid(grid.shape, affine)


def _image(image: X, decade: int) -> X:
    if not isinstance(image, Image):
        return image
    # headers hold single precision: the same grid in another unit differs in the last digits
    return replace(image, grid=rounded(_grid(image.grid, decade), _QUANTUM_BITS))


def _field(found: DisplacementField, source: int, target: int) -> DisplacementField:
    """A field between two worlds, from units of 10^source and 10^target mm to mm."""
    if source == target == 0:
        return found
    grid = _grid(found.grid, source)
    if source == target:
        mm = _times(found.displacement_mm.astype(np.float64), source)
        return DisplacementField(grid, mm.astype(np.float32))
    whole = (
        Affine(np.diag([*[10.0**-source] * 3, 1.0])),
        Affine(np.diag([*[10.0**target] * 3, 1.0])),
    )
    return DisplacementField.from_map(lambda p: whole[1](found(whole[0](p))), grid)


def _repair(repair: Repair | None, unit: float) -> Repair | None:
    if repair is None:
        return None
    return Repair(
        *(
            replace(
                mended,
                mean_change_mm=mended.mean_change_mm * unit,
                largest_change_mm=mended.largest_change_mm * unit,
            )
            for mended in (repair.working_grid, repair.fixed_grid)
        )
    )


def _missed(missed: Steps[LandmarkFacts] | None, unit: float) -> Steps[LandmarkFacts] | None:
    if missed is None:
        return None
    steps = (
        replace(step, mean_mm=step.mean_mm * unit, max_mm=step.max_mm * unit)
        for step in (missed.start, missed.affine, missed.final)
    )
    return Steps(*steps)
