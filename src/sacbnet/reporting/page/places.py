"""The places that the page shows: the middle of the body, and where a mistake is most likely."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from sacbnet.imaging.image import Image
from sacbnet.imaging.scaling import Scaling, scaling_of
from sacbnet.registration.result import Registration
from sacbnet.registration.uncertainty import ErrorMap
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine

from .frame import Frame, Index

_SIDE = 96  # at most as many voxels along each axis are looked at
_SIGNAL = 0.1  # height of the body above the background, as a share of the range
_NEARLY_ALL = (0.3, 99.7)  # per cent of the body along an axis: single bright voxels do not count
_WINDOW = 7  # of these voxels: side of the box in which the images are compared


@dataclass(frozen=True)
class Place:
    """A voxel through which three planes are shown.

    Parameters
    ----------
    key : str
        A short name for the page.
    title : str
        What it is.
    why : str
        A sentence: how it was chosen.
    at : tuple[int, int, int]
        Its index in the frame of the fixed image.
    """

    key: str
    title: str
    why: str
    at: Index


@dataclass(frozen=True, eq=False)
class Layout:
    """What the page shows of a registration.

    Parameters
    ----------
    frame : Frame
        The part of the fixed grid in which one of the images shows something.
    middle : Place
        The middle of what the fixed image shows.
    doubtful : Place
        Where the expected error is largest; where that is not known, where the moved image explains
        the fixed image least.
    fixed_ends, moving_ends : tuple[float, float]
        The intensities of each image that are shown black and white.
    """

    frame: Frame
    middle: Place
    doubtful: Place
    fixed_ends: tuple[float, float]
    moving_ends: tuple[float, float]

    @property
    def places(self) -> tuple[Place, Place]:
        """Both places."""
        return self.middle, self.doubtful


@dataclass(frozen=True, eq=False)
class Body:
    """What an image shows, looked at every few voxels.

    Parameters
    ----------
    frame : Frame
        The whole grid of the image.
    step : tuple[int, int, int]
        Every how many voxels along each axis of the frame it was looked at.
    coarse : ndarray
        These voxels.
    voxels : ndarray of int, shape (n, 3)
        The indices of those that belong to the body, in `coarse`.
    ends : tuple[float, float]
        The intensities that are shown black and white.
    """

    frame: Frame
    step: Index
    coarse: NDArray[Any]
    voxels: NDArray[Any]
    ends: tuple[float, float]

    @property
    def middle(self) -> Index:
        """The index of its middle in the frame."""
        return _whole(np.median(self.voxels, axis=0), self.step, self.frame)

    @property
    def part(self) -> Frame:
        """The part of the frame that shows it."""
        return _around(self.frame, self.step, self.voxels)


def body_of(image: Image) -> Body:
    """Find out what an image shows. Only every few voxels are looked at.

    Parameters
    ----------
    image : Image
        The image.

    Returns
    -------
    Body
        What it shows; all of it, where nothing stands out.
    """
    frame = Frame.of(image.grid)
    step = _step(frame.grid.shape)
    coarse = _coarse(frame, image.data, step)
    missing = None if image.missing is None else _coarse(frame, image.missing, step)
    scaling = _scaling(image, coarse, missing)
    shown = scaling.foreground(coarse, _SIGNAL)
    voxels = np.argwhere(shown if shown.any() else np.ones_like(shown))
    return Body(frame, step, coarse, voxels, ends_of(scaling))


def shown_ends(image: Image) -> tuple[float, float]:
    """The intensities of an image that are shown black and white.

    Parameters
    ----------
    image : Image
        The image.

    Returns
    -------
    tuple[float, float]
        Both intensities.
    """
    return ends_of(_thin(image))


def layout_of(result: Registration) -> Layout:
    """Choose what the page shows. Only every few voxels of the volumes are looked at.

    Parameters
    ----------
    result : Registration
        A registration that holds its images.

    Returns
    -------
    Layout
        The choice.
    """
    assert result.inputs is not None
    fixed, moving = result.inputs.fixed, result.inputs.moving
    body = body_of(fixed)
    frame, step, found, a = body.frame, body.step, body.voxels, body.coarse
    b, moving_scaling = _coarse(frame, result.moved.data, step), _thin(moving)
    # the moved image lies on another grid than the moving image: only its intensities count
    plain = replace(moving_scaling, outside=None, empty=None)
    either = np.concatenate([found, np.argwhere(plain.foreground(b, _SIGNAL))])
    middle = Place(
        "middle",
        "Through the middle",
        "The three planes meet in the middle of what the fixed image shows.",
        body.middle,
    )
    if result.errors is not None:
        worth = error_at(result.errors, _coarse_grid(frame, step, a.shape))
        title = "Through the largest expected error"
        why = "The three planes meet where the expected error is largest inside the body."
    else:
        worth = unexplained(a, b)
        title = "Through the least alike place"
        why = (
            "The expected error is not known. So the three planes meet where the moved image"
            " explains the fixed image least, by local correlation."
        )
    worst = found[np.argmax(worth[tuple(found.T)])]
    doubtful = Place("doubtful", title, why, _whole(worst, step, frame))
    part = _around(frame, step, either)
    return Layout(part, middle, doubtful, body.ends, ends_of(moving_scaling))


def error_at(errors: ErrorMap, grid: Grid) -> NDArray[Any]:
    """Look up the expected error on a grid.

    Parameters
    ----------
    errors : ErrorMap
        The expected error on its lattice.
    grid : Grid
        The grid.

    Returns
    -------
    ndarray of float32, shape of the grid
        The expected error, mm; beyond the lattice its largest value.
    """
    most = float(errors.error_mm.max())
    return np.asarray(resample(errors.error_mm, errors.grid, grid, Affine(), "linear", most))


def unexplained(fixed: NDArray[Any], moved: NDArray[Any], window: int = _WINDOW) -> NDArray[Any]:
    """Measure what a local linear fit of the moved image leaves of the fixed image.

    Parameters
    ----------
    fixed, moved : ndarray, shape (i, j, k)
        The images on one grid.
    window : int, default 7
        Side of the box around each voxel, voxels.

    Returns
    -------
    ndarray, shape (i, j, k)
        The variance of the fixed image in the box, times one minus the squared correlation.
    """
    a, b = (x.astype(np.float64) - x.mean() for x in (fixed, moved))

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(uniform_filter(values, window, mode="nearest"))

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    flat = 1e-6 * max(float(b.var()), np.finfo(float).tiny)
    explained = np.where(var_b > flat, both**2 / np.maximum(var_b, flat), 0.0)
    return np.asarray(np.clip(var_a - explained, 0, None))


def _around(frame: Frame, step: Index, voxels: NDArray[Any]) -> Frame:
    """The part of a frame in which nearly all of some voxels of `_coarse` lie."""
    low, high = (_whole(x, step, frame) for x in np.percentile(voxels, _NEARLY_ALL, axis=0))
    return frame.around(low, (high[0] + 1, high[1] + 1, high[2] + 1))


def _step(shape: tuple[int, ...]) -> Index:
    i, j, k = (-(-n // _SIDE) for n in shape)
    return i, j, k


def _thin(image: Image) -> Scaling:
    """The scaling of every few voxels of an image."""
    where = tuple(slice(None, None, s) for s in _step(image.data.shape))
    missing = None if image.missing is None else image.missing[where]
    return _scaling(image, image.data[where], missing)


def _scaling(image: Image, data: NDArray[Any], missing: NDArray[np.bool_] | None) -> Scaling:
    if image.scaled:
        return Scaling(0.0, 1.0, outside=missing)
    return scaling_of(np.ascontiguousarray(data), missing)


def ends_of(scaling: Scaling) -> tuple[float, float]:
    """Choose the intensities that are shown black and white.

    Dark stays dark, even where the engine turns bright and dark.

    Parameters
    ----------
    scaling : Scaling
        The scaling of the image.

    Returns
    -------
    tuple[float, float]
        The intensity that is black, and the one that is white.
    """
    if scaling.negated:
        return -scaling.high, -scaling.low
    return scaling.low, scaling.high


def _coarse(frame: Frame, data: NDArray[Any], step: Index) -> NDArray[Any]:
    """Every few voxels of the data, in the frame; from the file's first voxel on."""
    stored = [1, 1, 1]
    for n, axis in enumerate(frame.axes):
        stored[axis] = step[n]
    return frame.upright(data[tuple(slice(None, None, s) for s in stored)])


def _whole(coarse: NDArray[Any], step: Index, frame: Frame) -> Index:
    """The index in the frame of a voxel of `_coarse`."""
    at = [
        min(first + int(c) * s, size - 1)
        for first, c, s, size in zip(
            _first(step, frame), np.round(coarse).astype(int), step, frame.grid.shape, strict=True
        )
    ]
    return at[0], at[1], at[2]


def _first(step: Index, frame: Frame) -> list[int]:
    """The index in the frame of the first voxel of `_coarse`."""
    # along a reversed axis the file's first voxel is the frame's last one
    return [
        0 if sign > 0 else (size - 1) % s
        for sign, size, s in zip(frame.signs, frame.grid.shape, step, strict=True)
    ]


def _coarse_grid(frame: Frame, step: Index, shape: Index) -> Grid:
    """The grid of the voxels of `_coarse`."""
    affine = frame.grid.affine.copy()
    affine[:3, :3] *= step
    affine[:3, 3] = frame.grid.world(_first(step, frame))
    return Grid(shape, affine)
