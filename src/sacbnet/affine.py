"""Rigid and affine pre-alignment: Mattes mutual information, coarse to fine, by SimpleITK.

The result maps points of the fixed to points of the moving image, in RAS mm. Several starting poses are scored on
a coarse lattice first (header, centres of mass, a fan of rotations): mutual information finds only the nearest optimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass

from .io.itk import LPS, image_to_itk, matrix_of_itk
from .preprocess import Layer
from .spatial.transforms import Affine

AffineKind = Literal["none", "rigid", "affine"]
Linear = Any  # sitk.Euler3DTransform or sitk.AffineTransform; SimpleITK has no common type for them


@dataclass(frozen=True)
class AffineOptions:
    """Numbers of the search. coarse, medium, fine: spacing of the three resolutions, in voxels of the fixed layer."""

    coarse: float = 8.0
    medium: float = 4.0
    fine: float = 2.0
    bins: int = 32
    iterations: int = 300
    starts_kept: int = 3
    rotations_deg: tuple[float, ...] = (-30.0, 0.0, 30.0)


def align(fixed: Layer, moving: Layer, kind: AffineKind, options: AffineOptions | None = None) -> Affine:
    """The rigid or affine transform (fixed -> moving) of largest mutual information; identity for kind "none"."""
    if kind == "none":
        return Affine()
    o = options or AffineOptions()
    # a head of 160 voxels is 20 wide at the coarsest; a small crop must not shrink to a handful of voxels
    spacing = float(fixed.grid.spacing.mean()) * min(1.0, min(fixed.grid.shape) / 120)
    factors = (o.coarse, o.medium, o.fine)
    coarse, medium, fine = ((_Side(fixed, f * spacing), _Side(moving, f * spacing)) for f in factors)
    starts: list[Linear] = [_optimise(*coarse, start, o) for start in _best_starts(*coarse, fixed, moving, o)]
    best = min(starts, key=lambda t: _score(*medium, t, o))
    best = _optimise(*medium, best, o, step=0.5)
    if kind == "affine":
        free = sitk.AffineTransform(best.GetMatrix(), best.GetTranslation(), best.GetCenter())
        best = _optimise(*medium, _optimise(*coarse, free, o), o, step=0.5)
    best = _optimise(*fine, best, o, step=0.25, samples=0.1)
    header = sitk.Euler3DTransform(list(LPS[:3, :3] @ fixed.grid.centre))
    if _score(*medium, header, o) <= _score(*medium, best, o):
        return Affine()  # the headers already agree at least as well: never worse than the start
    return Affine(matrix_of_itk(best))


class _Side:
    """One image at one resolution, as SimpleITK objects."""

    def __init__(self, layer: Layer, spacing: float) -> None:
        image = image_to_itk(layer.data, layer.grid)
        # a Gaussian of half the new spacing keeps what the coarse lattice can show and no more
        sigma = [max(0.5 * spacing, 1e-3) if s < spacing else 1e-3 for s in image.GetSpacing()]
        grid = layer.grid.with_spacing(np.maximum(layer.grid.spacing, spacing))
        like = image_to_itk(np.zeros(grid.shape, dtype=np.uint8), grid)
        smooth = sitk.DiscreteGaussian(image, variance=[s * s for s in sigma], maximumError=0.01, useImageSpacing=True)
        self.image = sitk.Resample(smooth, like, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        self.mask = None
        if layer.mask is not None:
            mask = image_to_itk(layer.mask.astype(np.uint8), layer.grid)
            self.mask = sitk.Resample(mask, like, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0, sitk.sitkUInt8)


def _method(fixed: _Side, moving: _Side, o: AffineOptions, samples: float = 1.0) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(o.bins)
    method.SetMetricSamplingStrategy(method.NONE if samples >= 1 else method.REGULAR)
    if samples < 1:
        method.SetMetricSamplingPercentage(samples, 1)
    method.SetInterpolator(sitk.sitkLinear)
    # Several work units sum in another order each run. One gives the same bytes twice (contract 4).
    method.SetNumberOfWorkUnits(1)
    if fixed.mask is not None:
        method.SetMetricFixedMask(fixed.mask)
    if moving.mask is not None:
        method.SetMetricMovingMask(moving.mask)
    return method


def _score(fixed: _Side, moving: _Side, transform: sitk.Transform, o: AffineOptions) -> float:
    """Negative mutual information; +inf where the images do not overlap."""
    method = _method(fixed, moving, o)
    method.SetInitialTransform(transform)
    try:
        return float(method.MetricEvaluate(fixed.image, moving.image))
    except RuntimeError:
        return float("inf")


def _optimise(
    fixed: _Side, moving: _Side, start: Linear, o: AffineOptions, step: float = 1.0, samples: float = 1.0
) -> Linear:
    """Gradient descent from `start`, first steps of `step` mm; never returns what scores worse than it."""
    before = _score(fixed, moving, start, o)
    for first in (step, step / 4):  # a first step too long can throw the images out of each other
        method = _method(fixed, moving, o, samples)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=first, minStep=1e-3, numberOfIterations=o.iterations, relaxationFactor=0.9,
            gradientMagnitudeTolerance=1e-6,
        )  # fmt: skip
        method.SetOptimizerScalesFromPhysicalShift()
        transform = type(start)(start)
        method.SetInitialTransform(transform, inPlace=True)
        try:
            method.Execute(fixed.image, moving.image)
        except RuntimeError:  # no overlap on the way
            continue
        if _score(fixed, moving, transform, o) <= before:
            return transform
    return start


def _best_starts(f: _Side, m: _Side, fixed: Layer, moving: Layer, o: AffineOptions) -> list[Linear]:
    """The `starts_kept` best of: header, box centres and centres of mass, each with a fan of rotations."""
    centre = LPS[:3, :3] @ _centre_of_mass(fixed)
    shifts = [
        np.zeros(3),
        LPS[:3, :3] @ (moving.grid.centre - fixed.grid.centre),
        LPS[:3, :3] @ _centre_of_mass(moving) - centre,
    ]
    # a shift much like an earlier one would only take places among the starts that are kept
    shifts = [s for n, s in enumerate(shifts) if all(np.linalg.norm(s - t) > 1.0 for t in shifts[:n])]
    scored = []
    for n, (shift, angles) in enumerate(product(shifts, product(np.deg2rad(o.rotations_deg), repeat=3))):
        t = sitk.Euler3DTransform(centre.tolist(), *angles, shift.tolist())
        scored.append((_score(f, m, t, o), n, t))
    scored.sort(key=lambda s: s[:2])
    return [t for _, _, t in scored[: o.starts_kept]]


def _centre_of_mass(layer: Layer) -> NDArray[np.float64]:
    weight = layer.data.astype(np.float64) - layer.data.min()
    if layer.mask is not None:
        weight = weight * layer.mask
    if weight.sum() <= 0:
        return layer.grid.centre
    return layer.grid.world(np.array(center_of_mass(weight)))
