"""Voxels of an image that hold no measurement: padding, and noise in air as bright as tissue.

Scanners and programs fill what they did not measure with one value: -2000, -2048 or -3024 around
the circle of a CT, 0 around a rotated volume. Such a value is found by its form: it is repeated
exactly on the faces of the image, and it stands apart from all other values.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label, uniform_filter

Mask = NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

AIR = (-1100.0, -850.0)  # Hounsfield units: the darkest voxels of a CT
BELOW_AIR = -1150.0  # no tissue and no air of a CT is darker
DARK = 0.1  # of the range: its low end
GAP = 0.15  # of the range of the other values: how far padding stands apart from them
NEAR = 0.02  # of the range: values this close are taken as one
OWN_AIR = 0.25  # of the other voxels: so many are dark where they have a background
FEW = 32  # values: a label map or a mask has no more
_AROUND = 0.1  # of the voxels next to padding: more tissue than that is cut by the padding
_NOISE = 0.1  # of the range: median difference of neighbours on the faces that no anatomy has
_LEFT = 0.03  # of the voxels: less than that cannot be the anatomy


def faces(data: NDArray[T]) -> NDArray[T]:
    """Take the outermost voxels of an image.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.

    Returns
    -------
    ndarray, shape (n,)
        The voxels of the six faces.
    """
    return np.concatenate([data.take(end, axis).ravel() for axis in range(3) for end in (0, -1)])


def most_frequent(values: NDArray[np.floating]) -> tuple[float, float]:
    """Find the value that is repeated most often.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Voxels, at least one.

    Returns
    -------
    value : float
        The value.
    share : float
        Share of the voxels that hold it.
    """
    found, counts = np.unique(values, return_counts=True)
    return float(found[counts.argmax()]), float(counts.max() / values.size)


def nearness(values: NDArray[np.floating], width: float) -> float:
    """Give the distance up to which two values are taken as one.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Voxels.
    width : float
        Width of their range.

    Returns
    -------
    float
        A fiftieth of the range, or two steps of an image that has few values: noise of a background
        is spread over neighbouring values.
    """
    known = np.unique(values)
    step = float(np.median(np.diff(known))) if known.size > 1 else 0.0
    return max(NEAR * width, 2 * step)


def is_padding(
    value: float,
    data: NDArray[np.floating],
    rest: NDArray[np.floating],
    low: float,
    high: float,
) -> bool:
    """Say whether a value that is repeated on the faces is padding, and no background.

    Parameters
    ----------
    value : float
        The value.
    data : ndarray, shape (i, j, k)
        The image.
    rest : ndarray, shape (n,)
        All other values, or a sample of them.
    low, high : float
        Ends of the range of the other values.

    Returns
    -------
    bool
        True for a value that no CT has, or that stands apart from all others although the voxels
        next to it are the image's own background.
    """
    width = high - low
    close = nearness(rest, width)
    near = np.count_nonzero(np.abs(rest - value) <= close)
    within = low + close < value < high - close
    spike = within and near <= 0.1 * rest.size
    of_ct = rest[rest > BELOW_AIR]
    if of_ct.size and AIR[0] <= of_ct.min() <= AIR[1] and high > 0:
        return value <= BELOW_AIR or (spike and value == 0) or value > high + GAP * width
    if not spike and low - GAP * width <= value <= high + GAP * width:
        return False
    dark = low + DARK * width
    if np.mean(rest < dark) < OWN_AIR or len(np.unique(rest[:: max(1, rest.size // 9999)])) < FEW:
        return False
    padding = data == value
    rim = binary_dilation(padding) & ~padding
    return bool(rim.any() and np.mean(data[rim] < dark) > 0.5)


def cuts_anatomy(padding: Mask, shown: Mask) -> bool:
    """Say whether padding borders on what the image shows, and not on its background.

    Parameters
    ----------
    padding : bool array, shape (i, j, k)
        Where the padding is.
    shown : bool array, shape (i, j, k)
        Where the image shows something.

    Returns
    -------
    bool
        Whether more than a tenth of the voxels next to the padding show something.
    """
    rim = binary_dilation(padding) & ~padding
    return bool(rim.any() and shown[rim].mean() > _AROUND)


def has_noisy_faces(data: NDArray[np.floating], low: float, high: float) -> bool:
    """Say whether the faces of an image show noise over the whole range.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.
    low, high : float
        Ends of its range.

    Returns
    -------
    bool
        Whether neighbours on the faces differ by more than a tenth of the range as a rule.
    """
    jumps = []
    for axis in range(3):
        for end in (0, -1):
            face = np.clip(data.take(end, axis), low, high)
            jumps += [np.abs(np.diff(face, axis=a)).ravel() for a in (0, 1)]
    return bool(np.median(np.concatenate(jumps)) > _NOISE * (high - low))


def noisy_air(unit: NDArray[np.float32]) -> Mask | None:
    """Find air that is filled with noise as bright as tissue.

    The uniform image of MP2RAGE is a ratio of two images. In air it is noise over the whole range.

    Parameters
    ----------
    unit : ndarray, shape (i, j, k)
        An image in [0, 1] whose faces show such noise (`has_noisy_faces`).

    Returns
    -------
    bool array, shape (i, j, k), or None
        The noise that is connected with the faces; None where no anatomy stands out from it.
    """
    rough = np.zeros_like(unit)
    for axis in range(3):
        step = np.abs(np.diff(unit, axis=axis, append=unit.take([-1], axis)))
        rough += uniform_filter(step, 5)
    parts, _ = label(rough > 0.5 * np.median(faces(rough)))
    outer = np.unique(faces(parts))
    air: Mask = np.isin(parts, outer[outer > 0])
    return air if _LEFT < 1 - air.mean() < 1 - _LEFT else None
