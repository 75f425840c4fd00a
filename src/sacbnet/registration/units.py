"""A pair in another unit: its images and landmarks go into the unit, its results come back in mm.

The unit is a power of ten millimetres (`sizes.units_of` chooses it), for each of the two images.
The same pair in another unit therefore gives the same result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sacbnet.imaging.canonical import rounded
from sacbnet.imaging.image import Image
from sacbnet.spatial.composition import AnyTransform, composed
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

from .deliver import Repair
from .inputs import Inputs
from .landmarks import LandmarkFacts, Landmarks
from .report import ExpectedError, RunReport
from .result import LOG_JACOBIAN, UNCERTAINTY, Registration
from .steps import Steps
from .uncertainty import ErrorMap

_QUANTUM_BITS = 16  # the affine is rounded to 2^-16 of a voxel

Array = NDArray[np.float64]
X = TypeVar("X")


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
            tuple((_image(f, -self.fixed), _image(m, -self.moving)) for f, m in inputs.contrasts),
            self._initial(inputs.initial),
        )

    def _initial(self, initial: AnyTransform | None) -> AnyTransform | None:
        """A transform in mm, expressed in these units."""
        if initial is None or self.plain:
            return initial
        into, out = (
            Affine(np.diag([*[value] * 3, 1.0])) for value in (self.fixed_mm, 1 / self.moving_mm)
        )
        return composed(out, initial, into)

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
        if LOG_JACOBIAN in maps:
            image, decades = maps[LOG_JACOBIAN], self.moving - self.fixed
            maps[LOG_JACOBIAN] = replace(
                image, data=image.data + np.float32(3 * decades * np.log(10))
            )
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
            _errors(found.errors, self.fixed),
            inputs,
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
            expected_error=_expected(report.expected_error, unit),
            landmarks=_missed(report.landmarks, self.moving_mm),
        )


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


def _expected(error: ExpectedError | None, unit: float) -> ExpectedError | None:
    return error and ExpectedError(error.mean_mm * unit, error.p95_mm * unit)


def _errors(errors: ErrorMap | None, decade: int) -> ErrorMap | None:
    if errors is None:
        return None
    mm = errors.error_mm * np.float32(10.0**decade)
    return replace(errors, error_mm=mm, grid=_grid(errors.grid, decade))


def _missed(missed: Steps[LandmarkFacts] | None, unit: float) -> Steps[LandmarkFacts] | None:
    if missed is None:
        return None
    steps = (
        replace(step, mean_mm=step.mean_mm * unit, max_mm=step.max_mm * unit)
        for step in (missed.start, missed.affine, missed.final)
    )
    return Steps(*steps)
