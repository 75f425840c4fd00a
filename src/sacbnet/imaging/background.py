"""The intensity of an image where it shows nothing: air in CT, 0 in most MR images."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .outside import most_frequent

_CONSTANT = 0.1  # of the border: so large a share of one exact value is a background
_NO_MATTER_HU = -1100.0  # lower values are no matter: scanners write them where they saw nothing
_AIR_HU = (-1100.0, -900.0)
_LEAST_AIR = 0.005  # of the image
# (share of the border, largest position in the range) of a noisy background: a quarter of the
# border is enough where it is dark, most of the border is needed where it is not
_NOISY = ((0.25, 0.2), (0.6, 1.0))
_NARROW = 0.1  # of the range: the width of a noisy background
_NOISE_AROUND_0 = 3.0  # standard deviations
_SAMPLE = 500_000


def fill_value(data: NDArray[np.generic], fill: float | Literal["auto"]) -> float:
    """Give the value that a result has where nothing of an image arrives.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.
    fill : float or "auto"
        A value, or "auto" for the image's own background.

    Returns
    -------
    float
        The value.
    """
    return background(data) if fill == "auto" else float(fill)


def background(data: NDArray[np.generic]) -> float:
    """Find the intensity of an image's background.

    The border of the image decides: the voxels of its six faces. A value that a tenth of them have
    exactly is the background. Else it is the centre of a narrow cluster of values that is dark or
    that most of the border belongs to; 0 if 0 lies within the noise of the cluster. Scanners write
    values below -1100 HU where they saw nothing; the background is then air, if the image shows
    air. An image that shows no background has 0, or its smallest values if it has negative values.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image. NaN and infinite values do not count.

    Returns
    -------
    float
        The intensity; 0 for an image without a finite value.

    Examples
    --------
    >>> import numpy as np
    >>> scan = np.full((9, 9, 9), -1000.0)
    >>> scan[2:7, 2:7, 2:7] = 40
    >>> background(scan)
    -1000.0
    """
    border = _sampled(np.concatenate([_faces(data, axis) for axis in range(3)]))
    values = _sampled(data.ravel())
    if not border.size or not values.size:
        return 0.0
    constant, share = most_frequent(border)
    if share >= _CONSTANT:
        if constant < _NO_MATTER_HU:
            low, high = _AIR_HU
            air = values[(values >= low) & (values <= high)]
            if air.size >= _LEAST_AIR * values.size:
                return float(np.median(air))
        return constant
    bottom, top = (float(p) for p in np.percentile(values, (0.1, 99.0)))
    for share, highest in _NOISY:
        cluster = _densest(border, share)
        centre, width = float(np.median(cluster)), float(cluster[-1] - cluster[0])
        if width < _NARROW * (top - bottom) and centre - bottom <= highest * (top - bottom):
            # the shortest interval wanders with the noise; the values around it do not
            centre = float(np.median(border[np.abs(border - centre) <= 3 * width]))
            return 0.0 if abs(centre) <= _NOISE_AROUND_0 * _deviation(border, centre) else centre
    return 0.0 if values.min() >= 0 else bottom


def _faces(data: NDArray[np.generic], axis: int) -> NDArray[np.generic]:
    return np.take(data, (0, data.shape[axis] - 1), axis=axis).ravel()


def _sampled(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Some of the values, evenly spread; finite ones only."""
    some = values[:: max(1, values.size // _SAMPLE)].astype(np.float64)
    return np.asarray(some[np.isfinite(some)])


def _densest(values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The shortest interval that holds a share of the values, as its sorted values."""
    values = np.sort(values)
    n = max(1, int(share * values.size))
    start = int(np.argmin(values[n - 1 :] - values[: values.size - n + 1]))
    return values[start : start + n]


def _deviation(border: NDArray[np.float64], centre: float) -> float:
    """Standard deviation of the noise around a centre, from the half that is below it."""
    below = border[border <= centre]
    return float(1.4826 * np.median(centre - below))
