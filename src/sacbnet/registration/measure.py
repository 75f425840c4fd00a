"""Quality of a registration: similarity and overlap at the start, after the affine, at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from sacbnet.imaging.image import Image
from sacbnet.imaging.intensities import foreground
from sacbnet.imaging.resampling import carry, on_grid
from sacbnet.metrics.overlap import dice_of_present, present_labels
from sacbnet.metrics.similarity import local_correlation, mutual_information
from sacbnet.spatial.resample import Interpolation
from sacbnet.spatial.transforms import Affine, DisplacementField, PointMap

from .inputs import Inputs
from .landmarks import LandmarkFacts
from .prepare import Pair
from .steps import Likeness, Overlap, Steps

_SHOWN = 0.05  # of the range: what is darker is background
_SMOOTH = 1.5  # working voxels
T = TypeVar("T")


def likeness_of(pair: Pair, affine: Affine, transform: DisplacementField) -> Steps[Likeness]:
    """Measure how alike the images are, on the working grid, inside the fixed mask.

    Parameters
    ----------
    pair : Pair
        Both images as the engine takes them.
    affine : Affine
        The affine alignment.
    transform : DisplacementField
        The whole transform.

    Returns
    -------
    Steps[Likeness]
        Likeness by the headers alone, after the affine, and at the end.
    """
    return _at_each(affine, transform, lambda step: _likeness(pair, step))


def calm_likeness_of(pair: Pair, affine: Affine, transform: DisplacementField) -> Steps[Likeness]:
    """Measure how alike the smoothed images are, where the fixed image shows something.

    Interpolation smooths the noise of an image. Once both images are smooth, that no longer counts.

    Parameters
    ----------
    pair : Pair
        Both images as the engine takes them.
    affine : Affine
        The affine alignment.
    transform : DisplacementField
        The whole transform.

    Returns
    -------
    Steps[Likeness]
        Likeness by the headers alone, after the affine, and at the end.
    """
    f = pair.fixed
    shown = foreground(f.data, _SHOWN)
    inside = shown if f.mask is None else shown & f.mask
    calm = replace(pair, fixed=replace(f, mask=inside if inside.any() else f.mask))
    return _at_each(affine, transform, lambda step: _likeness(calm, step, _SMOOTH))


def missed_of(
    inputs: Inputs, affine: Affine, transform: DisplacementField
) -> Steps[LandmarkFacts] | None:
    """Measure how far the landmarks are missed.

    Parameters
    ----------
    inputs : Inputs
        The images and their landmarks.
    affine : Affine
        The affine alignment.
    transform : DisplacementField
        The whole transform.

    Returns
    -------
    Steps[LandmarkFacts] or None
        Distances by the headers alone, after the affine, and at the end; None without landmarks.
    """
    marks = inputs.landmarks
    if marks is None:
        return None
    return _at_each(affine, transform, lambda step: LandmarkFacts.of(marks, step))


def overlap_of(
    inputs: Inputs, affine: Affine, transform: DisplacementField
) -> Steps[Overlap] | None:
    """Measure how far the label maps overlap.

    Parameters
    ----------
    inputs : Inputs
        The images and their label maps.
    affine : Affine
        The affine alignment.
    transform : DisplacementField
        The whole transform.

    Returns
    -------
    Steps[Overlap] or None
        Dice by the headers alone, after the affine, and at the end; None without two label maps.
    """
    fixed, moving = inputs.fixed_labels, inputs.moving_labels
    if fixed is None or moving is None:
        return None
    labels = present_labels(moving.data, fixed.data)
    return _at_each(affine, transform, lambda step: _overlap(fixed, moving, step, labels))


def _at_each(
    affine: Affine, transform: DisplacementField, measured: Callable[[PointMap], T]
) -> Steps[T]:
    start = measured(Affine())
    still = bool((affine.matrix == np.eye(4)).all())  # then the affine step is the start
    return Steps(start, start if still else measured(affine), measured(transform))


def _likeness(pair: Pair, point_map: PointMap, smooth: float = 0.0) -> Likeness:
    f, m = pair.fixed, pair.moving
    moved = on_grid(m.data, m.grid, pair.grid, point_map)
    fixed = torch.from_numpy(f.data)[None, None]
    if smooth:
        moved, fixed = (
            torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, smooth, smooth, smooth)))
            for x in (moved, fixed)
        )
    mask = None if f.mask is None else torch.from_numpy(f.mask)[None, None]
    inside = slice(None) if f.mask is None else f.mask
    return Likeness(
        local_correlation=local_correlation(moved, fixed, mask),
        mutual_information=mutual_information(moved[0, 0].numpy()[inside], f.data[inside]),
    )


def _overlap(fixed: Image, moving: Image, point_map: PointMap, labels: tuple[int, ...]) -> Overlap:
    def dice(how: Interpolation) -> tuple[float, dict[str, float]]:
        moved = carry(moving, fixed, point_map, how).data
        found = dice_of_present(moved, fixed.data, labels)
        mean = float(np.mean(list(found.values()))) if found else float("nan")
        return mean, {str(label): round(value, 6) for label, value in found.items()}

    (nearest, per_nearest), (onehot, per_onehot) = dice("nearest"), dice("onehot")
    return Overlap(nearest, onehot, per_nearest, per_onehot)
