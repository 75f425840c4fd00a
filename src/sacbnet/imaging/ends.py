"""The ends of the range of an image's intensities, where a few voxels must not decide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .intensities import percentile

_FEW = 0.01  # of the voxels: as many may be cut off at the low end
_EMPTY = 0.25  # of the range: a gap that no anatomy leaves
_TAILS = (0.1, 0.25, 0.5, 1.0, 2.0)  # per cent of the brightest voxels, tried as the high end
_JUMP = 3.0  # the brightness of one tail over that of the next: outliers
_CLIMB, _ABOVE = 5.0, 1.5  # the same over all tails; times the last tail, the end that is taken
_SMOOTH = 0.5  # correlation of neighbours that anatomy has, and noise has not


def ends(sample: NDArray[np.floating], data: NDArray[np.floating]) -> tuple[float, float, str]:
    """Find the ends of the range of an image.

    Parameters
    ----------
    sample : ndarray, shape (n,)
        Values of the image that are no padding, sorted.
    data : ndarray, shape (i, j, k)
        The image.

    Returns
    -------
    low, high : float
        The intensities that become 0 and 1: the smallest one and the 99.9th percentile, without the
        few values that are far from all others.
    cut_off : str
        What was left out; "" for an ordinary image.
    """
    if not sample.size:
        return 0.0, 1.0, ""
    low, high, cut = float(sample[0]), float(sample[-1]), []
    above = sample[sample > low]
    if above.size:
        high = percentile(above)
    first = sample[: max(2, int(_FEW * sample.size))].astype(np.float64)
    gaps = np.diff(first)
    if gaps.size and gaps.max() > _EMPTY * (high - first[gaps.argmax() + 1]):
        low = float(first[gaps.argmax() + 1])
        cut.append(f"values down to {sample[0]:g} lie far below all others, from {low:g} on")
        above = sample[sample > low]
        high = percentile(above) if above.size else high
    end = _bright_end(above, low, high, data)
    if end < high:
        cut.append(f"few values, up to {sample[-1]:g}, are far brighter than all others")
    return low, end, "; ".join(cut)


def _bright_end(
    above: NDArray[np.floating], low: float, high: float, data: NDArray[np.floating]
) -> float:
    """The high end, where the few brightest voxels are far from all others: metal, hot voxels."""
    if above.size < 1000:
        return high
    tails = [float(above[int((1 - t / 100) * (above.size - 1))]) - low for t in _TAILS]
    jumps = [n for n in range(1, len(tails)) if tails[n - 1] > _JUMP * tails[n] > 0]
    end = high
    if jumps:
        end = low + tails[jumps[-1]]
    elif tails[0] > _CLIMB * tails[-1] > 0:
        end = low + _ABOVE * tails[-1]
    # what is left must be anatomy: in a dark image, the few bright voxels are the anatomy
    return end if end < high and _is_smooth(data, low, end) else high


def _is_smooth(data: NDArray[np.floating], low: float, high: float) -> bool:
    """Whether neighbours are alike in the range, as in anatomy, and unlike noise."""
    some = np.clip(data[:: max(1, len(data) // 16)], low, high)
    some = some - some.mean()
    power = float((some**2).mean())
    alike = [float((a * b).mean()) for a, b in _neighbours(some)]
    return power > 0 and max(alike) > _SMOOTH * power


def _neighbours(
    data: NDArray[np.floating],
) -> list[tuple[NDArray[np.floating], NDArray[np.floating]]]:
    return [(data[:, 1:], data[:, :-1]), (data[:, :, 1:], data[:, :, :-1])]
