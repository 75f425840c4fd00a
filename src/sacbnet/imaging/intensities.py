"""The one scaling of intensities to [0, 1], and the voxels that are not background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_HIGHEST_PERCENT = 99.9  # the few brightest voxels (vessels, metal) must not darken all the others
_SAMPLE = 1_000_000  # about as many voxels give the percentile; more would not change it


def foreground(data: NDArray[np.floating], signal: float = 0.02) -> NDArray[np.bool_]:
    """Find the voxels that stand out from the background, which is the smallest value.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        Intensities.
    signal : float, default 0.02
        The least height above the background, as a share of the range (`unit_range`).

    Returns
    -------
    ndarray of bool, shape (i, j, k)
        The mask; all True if no voxel stands out.
    """
    low, high = unit_range(data)
    found = data > low + signal * (high - low)
    return found if found.any() else np.ones(data.shape, dtype=bool)


def unit_range(data: NDArray[np.floating]) -> tuple[float, float]:
    """Find the intensities that become 0 and 1.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        Intensities.

    Returns
    -------
    low : float
        The smallest intensity.
    high : float
        The 99.9th percentile of the intensities above `low`; `low` + 1 for a constant image.
    """
    low = float(data.min())
    above = data[data > low]
    high = low + 1.0
    if above.size:
        high = percentile(above[:: max(1, above.size // _SAMPLE)])
    return low, high if high > low else low + 1.0


def percentile(values: NDArray[np.floating]) -> float:
    """Compute the 99.9th percentile.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Intensities.

    Returns
    -------
    float
        The percentile; the same with every version of numpy.
    """
    # The percentage has the type of the data. From a plain number, numpy 2.3 and 2.4 compute
    # values that differ in the last digit, and all later stages would differ, too.
    percent = np.result_type(values.dtype, np.float32).type(_HIGHEST_PERCENT)
    return float(np.percentile(values, percent))


def to_unit(data: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale intensities to [0, 1] and clip them, by the rule for an ordinary image.

    `Image.unit` also knows what is not ordinary; use that method for an image.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        Intensities of any range.

    Returns
    -------
    ndarray, shape (i, j, k)
        float32 in [0, 1]; `unit_range` gives the intensities that become 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> to_unit(np.array([-100.0, 0.0, 100.0])).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    return scaled(data, *unit_range(data))


def scaled(data: NDArray[np.floating], low: float, high: float) -> NDArray[np.float32]:
    """Scale a range of intensities to [0, 1] and clip the rest.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        Intensities.
    low, high : float
        The intensities that become 0 and 1.

    Returns
    -------
    ndarray, shape (i, j, k)
        float32 in [0, 1].
    """
    unit = (data - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(unit, 0, 1), dtype=np.float32)
