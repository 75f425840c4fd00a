"""What an image shows where it shows nothing: padding, air in CT, 0 in most MR images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .ends import ends
from .outside import BELOW_AIR, Mask, faces, is_padding, most_frequent

_SAMPLE = 1_000_000  # about as many voxels are looked at
_LEAST_FACE = 0.02  # of the faces' voxels: a value that fills less is no padding
_ROUNDS = 3  # values that may be padding
_CONSTANT = 0.1  # of the faces' voxels: so large a share of one exact value is a background
_AIR_HU = (-1100.0, -900.0)
_LEAST_AIR = 0.005  # of the image
# (share of the faces' voxels, largest position in the range) of a noisy background: a quarter is
# enough where it is dark, more than half is needed where it is not
_NOISY = ((0.25, 0.2), (0.6, 1.0))
_NARROW = 0.1  # of the range: the width of a noisy background
_NOISE_AROUND_0 = 3.0  # standard deviations


@dataclass(frozen=True, eq=False)
class Filling:
    """The values that fill the faces of an image.

    Parameters
    ----------
    padding : tuple of float
        Values that a scanner or a program wrote where it measured nothing.
    value : float or None
        The value that is repeated most often on the faces and that is no padding; None if no value
        is repeated.
    share : float
        Share of the faces' voxels that hold `value`.
    varied : bool
        Whether the image has several values besides `value`.
    rim : ndarray, shape (m,)
        The voxels of the faces.
    sample : ndarray, shape (n,)
        Voxels of the image that are no padding, about a million of them, sorted.
    """

    padding: tuple[float, ...]
    value: float | None
    share: float
    varied: bool
    rim: NDArray[np.floating] = field(repr=False)
    sample: NDArray[np.floating] = field(repr=False)


def filling_of(data: NDArray[np.floating], missing: Mask | None = None) -> Filling:
    """Find the values that fill the faces of an image.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.
    missing : bool array, shape (i, j, k), or None, default None
        Voxels that hold no measurement (NaN in the file); all others are finite.

    Returns
    -------
    Filling
        Padding, and the value of the background if it is one value.
    """
    known = data if missing is None else data[~missing]
    sample = np.sort(known.ravel()[:: max(1, known.size // _SAMPLE)])
    rim = faces(data) if missing is None else faces(data)[~faces(missing)]
    padding: list[float] = []
    for value, share in _repeated(rim):
        rest = sample[sample != value]
        low, high, _ = ends(rest, data) if rest.size else (0.0, 0.0, "")
        varied = high > low
        if len(padding) < _ROUNDS and varied and is_padding(value, data, rest, low, high):
            padding.append(value)
            sample = rest
            continue
        varied = varied and len(padding) < _ROUNDS
        return Filling(tuple(padding), value, share, varied, rim, sample)
    return Filling(tuple(padding), None, 0.0, True, rim, sample)


def _repeated(values: NDArray[np.floating]) -> Iterator[tuple[float, float]]:
    """The values that fill the faces, the most frequent one first, and their shares."""
    all_of_them = max(values.size, 1)
    while values.size:
        value, share = most_frequent(values)
        if share * values.size < max(_LEAST_FACE * all_of_them, 9):
            return
        yield value, share * values.size / all_of_them
        values = values[values != value]


def fill_value(
    data: NDArray[np.generic], fill: float | Literal["auto"], missing: Mask | None = None
) -> float:
    """Give the value that a result has where nothing of an image arrives.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.
    fill : float or "auto"
        A value, or "auto" for the image's own background.
    missing : bool array, shape (i, j, k), or None, default None
        Voxels that hold no measurement, whatever `data` holds there.

    Returns
    -------
    float
        The value.
    """
    return background(data, missing) if fill == "auto" else float(fill)


def background(data: NDArray[np.generic], missing: Mask | None = None) -> float:
    """Find the intensity of an image's background.

    The border of the image decides: the voxels of its six faces, without padding. A value that a
    tenth of them have exactly is the background. Else it is the centre of a narrow cluster of
    values that is dark or that most of the border belongs to; 0 if 0 lies within the noise of the
    cluster. Scanners write values below -1150 HU where they saw nothing; the background is then
    air, if the image shows air. An image that shows no background has 0, or its smallest values if
    it has negative values.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image. NaN and infinite values do not count.
    missing : bool array, shape (i, j, k), or None, default None
        Further voxels that do not count.

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
    floats = np.issubdtype(data.dtype, np.floating)
    whole: NDArray[np.floating] = data if floats else data.astype(np.float64)  # type: ignore[assignment]
    unknown = ~np.isfinite(whole)
    if missing is not None:
        unknown |= missing
    filling = filling_of(whole, unknown if unknown.any() else None)
    values = filling.sample.astype(np.float64)
    if not values.size or not filling.rim.size:
        return 0.0
    constant = filling.value if filling.share >= _CONSTANT else None
    if min(filling.padding + (() if constant is None else (constant,)), default=0.0) < BELOW_AIR:
        air = values[(values >= _AIR_HU[0]) & (values <= _AIR_HU[1])]
        if air.size >= _LEAST_AIR * values.size:
            return float(np.median(air))
    if constant is not None:
        return constant
    border = filling.rim[~np.isin(filling.rim, filling.padding)].astype(np.float64)
    bottom, top = (float(p) for p in np.percentile(values, (0.1, 99.0)))
    for share, highest in _NOISY if border.size else ():
        cluster = _densest(border, share)
        centre, width = float(np.median(cluster)), float(cluster[-1] - cluster[0])
        if width < _NARROW * (top - bottom) and centre - bottom <= highest * (top - bottom):
            # the shortest interval wanders with the noise; the values around it do not
            centre = float(np.median(border[np.abs(border - centre) <= 3 * width]))
            return 0.0 if abs(centre) <= _NOISE_AROUND_0 * _deviation(border, centre) else centre
    return 0.0 if values.min() >= 0 else bottom


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
