"""Pictures from planes of numbers: pure functions of arrays, and their compressed form."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

Grey = NDArray[np.float32]  # (rows, columns) in [0, 1]
Bytes = NDArray[np.uint8]
Colour = tuple[int, int, int]

# From low to high; each runs evenly. Both can be told apart without red and green.
GRID: Colour = (255, 220, 90)  # lines of the deformed grid
SEQUENTIAL: tuple[Colour, ...] = (
    (68, 1, 84),
    (65, 68, 135),
    (42, 120, 142),
    (34, 168, 132),
    (122, 209, 81),
    (253, 231, 37),
)
DIVERGING: tuple[Colour, ...] = (
    (10, 50, 110),
    (60, 130, 190),
    (165, 205, 230),
    (246, 246, 246),
    (250, 195, 150),
    (215, 110, 50),
    (120, 45, 5),
)
FIRST, SECOND, BOTH = (70, 200, 255), (255, 150, 30), (255, 255, 255)  # of outlines
FOLDED: Colour = (255, 0, 220)
_QUALITY = 85  # of JPEG
_TONES = 128  # of a map
_KEEP, _START = 0.80, 0.92  # quantiles of the slopes: an edge goes on, an edge begins


def windowed(values: NDArray[Any], low: float, high: float) -> Grey:
    """Scale intensities to [0, 1].

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
        Intensities.
    low, high : float
        The intensities that become black and white.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        In [0, 1].
    """
    span = max(float(high - low), 1e-30)
    return np.asarray(np.clip((values - low) / span, 0, 1), dtype=np.float32)


def stretched(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resample a plane to pixels, linearly; coarser pixels take the mean of what they cover.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
        Values at the voxels.
    shape : tuple[int, int]
        Rows and columns of the picture; both cover the same rectangle.

    Returns
    -------
    ndarray of float32, shape `shape`
        Values at the pixels.
    """
    plane = Pillow.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(plane.resize((shape[1], shape[0]), Pillow.Resampling.BILINEAR))


def repeated(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Resample a plane to pixels by nearest neighbour, for labels.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
        Values at the voxels.
    shape : tuple[int, int]
        Rows and columns of the picture; both cover the same rectangle.

    Returns
    -------
    ndarray, shape `shape`
        Values at the pixels, of the same type.
    """
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * old / n).astype(int), old - 1)
        for n, old in zip(shape, values.shape, strict=True)
    )
    return np.asarray(values[rows[:, None], columns[None, :]])


def edges(grey: Grey, sigma: float = 1.2) -> NDArray[np.bool_]:
    """Find the edges of a picture: ridges of the slope that begin at a steep place.

    Parameters
    ----------
    grey : ndarray, shape (rows, columns)
        The picture in [0, 1].
    sigma : float, default 1.2
        Width of the smoothing, pixels.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        Where an edge runs; nowhere in an even picture.

    References
    ----------
    J. Canny, "A Computational Approach to Edge Detection", IEEE TPAMI 1986.
    """
    down = ndimage.gaussian_filter(grey, sigma, order=(1, 0), mode="nearest")
    right = ndimage.gaussian_filter(grey, sigma, order=(0, 1), mode="nearest")
    slope = np.hypot(down, right)
    rising = slope > 1e-3
    if not rising.any():
        return np.zeros(grey.shape, dtype=bool)
    # a pixel is on a ridge if no neighbour along the slope is steeper
    sector = np.round(np.arctan2(down, right) / (np.pi / 4)).astype(int) % 4
    around = np.pad(slope, 1)
    rows, columns = np.indices(slope.shape) + 1
    step = np.array([(0, 1), (1, 1), (1, 0), (1, -1)])[sector]
    ahead = around[rows + step[..., 0], columns + step[..., 1]]
    behind = around[rows - step[..., 0], columns - step[..., 1]]
    ridge = rising & (slope >= ahead) & (slope > behind)
    weak, strong = np.quantile(slope[rising], (_KEEP, _START))
    parts, _ = ndimage.label(ridge & (slope >= weak), np.ones((3, 3)))
    kept = np.unique(parts[ridge & (slope >= strong)])
    return np.asarray(np.isin(parts, kept[kept > 0]))


def outlines(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Find the pixels of labels at the border to another label or to the background.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, columns)
        The labels; 0 is the background.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        True at pixels of a label with another value beside them or below or above them.
    """
    around = np.pad(labels, 1, mode="edge")
    middle = around[1:-1, 1:-1]
    beside = (around[1:-1, :-2], around[1:-1, 2:], around[:-2, 1:-1], around[2:, 1:-1])
    return np.asarray((middle != 0) & np.logical_or.reduce([middle != other for other in beside]))


def lines(across: NDArray[Any], up: NDArray[Any], step: float) -> NDArray[np.float32]:
    """Draw a grid that is given by its coordinates: lines where a coordinate is a whole step.

    Parameters
    ----------
    across, up : ndarray, shape (rows, columns)
        The two coordinates at each pixel, mm.
    step : float
        Distance between the lines, mm.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        1 on a line, 0 between lines; lines are one pixel wide, however much they are stretched.
    """
    ink = np.zeros(across.shape, dtype=np.float32)
    for coordinate in (across, up):
        steps = coordinate / step
        rate = np.hypot(_slope(steps, 0), _slope(steps, 1))
        away = np.abs(steps - np.round(steps)) / np.maximum(rate, 1e-6)  # pixels
        crowded = np.clip(2 - 3 * rate, 0, 1)  # lines closer than 3 pixels fade to a tone
        ink = np.maximum(ink, np.clip(1.2 - away, 0, 1) * crowded)
    return ink.astype(np.float32)


def _slope(values: NDArray[Any], axis: int) -> NDArray[Any]:
    if values.shape[axis] < 2:
        return np.zeros_like(values)
    return np.asarray(np.gradient(values, axis=axis))


@dataclass(frozen=True, eq=False)
class Drawing:
    """A picture of at most 256 colours.

    Parameters
    ----------
    index : ndarray of uint8, shape (rows, columns)
        The number of each pixel's colour.
    colours : ndarray of uint8, shape (n, 4)
        Red, green, blue and opacity of each colour.
    """

    index: Bytes
    colours: Bytes

    def rgba(self) -> Bytes:
        """The colours of the pixels.

        Returns
        -------
        ndarray of uint8, shape (rows, columns, 4)
            Red, green, blue and opacity.
        """
        return self.colours[self.index]

    def uri(self) -> str:
        """Compress the picture, without loss.

        Returns
        -------
        str
            A data URI of a PNG.
        """
        image = Pillow.fromarray(self.index, "P")
        image.putpalette(self.colours[:, :3].tobytes(), "RGB")
        opacity = self.colours[:, 3]
        clear = {} if (opacity == 255).all() else {"transparency": opacity.tobytes()}
        return _uri(image, "png", **clear)


def coloured(values: NDArray[Any], low: float, high: float, colours: Sequence[Colour]) -> Drawing:
    """Paint values in colours.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
        The values; NaN is painted in the colour of folds.
    low, high : float
        The values of the first and the last colour.
    colours : sequence of (red, green, blue)
        Colours at even distances.

    Returns
    -------
    Drawing
        The picture, in 128 tones.
    """
    at = np.linspace(0, len(colours) - 1, _TONES)
    tones = [
        np.interp(at, np.arange(len(colours)), channel) for channel in zip(*colours, strict=True)
    ]
    palette = np.full((_TONES + 1, 4), 255, dtype=np.uint8)
    palette[:-1, :3] = np.round(np.stack(tones, axis=-1))
    palette[-1, :3] = FOLDED
    folded = np.isnan(values)
    grey = windowed(np.where(folded, low, values), low, high)
    index = np.round(grey * (_TONES - 1)).astype(np.uint8)
    index[folded] = _TONES
    return Drawing(index, palette)


def regions(labels: NDArray[Any]) -> Drawing:
    """Paint labels, each in a colour of its own.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, columns)
        The labels; 0 stays clear. From 256 labels on, colours come again.

    Returns
    -------
    Drawing
        The picture.
    """
    index = np.where(labels == 0, 0, (labels.astype(np.int64) - 1) % 255 + 1).astype(np.uint8)
    turn = np.arange(256) * 0.618034  # of the circle of hues: neighbours differ most
    hue = turn[:, None] + np.array([0, 1 / 3, 2 / 3])
    palette = np.full((256, 4), 255, dtype=np.uint8)
    palette[:, :3] = np.round(255 * (0.62 + 0.3 * np.cos(2 * np.pi * hue)))
    palette[0] = 0
    return Drawing(index, palette)


def drawn(ink: NDArray[Any], colour: Colour) -> Drawing:
    """Draw in one colour on a clear ground.

    Parameters
    ----------
    ink : ndarray, shape (rows, columns)
        Opacity, 0 to 1, or bool.
    colour : (red, green, blue)
        The colour.

    Returns
    -------
    Drawing
        The picture, in 16 steps of opacity.
    """
    palette = np.zeros((16, 4), dtype=np.uint8)
    palette[:, :3] = colour
    palette[:, 3] = 17 * np.arange(16)
    return Drawing(np.round(15 * ink.astype(np.float32)).astype(np.uint8), palette)


def two_outlines(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Drawing:
    """Draw two sets of outlines, and white where both run.

    Parameters
    ----------
    first, second : ndarray of bool, shape (rows, columns)
        The outlines.

    Returns
    -------
    Drawing
        The picture.
    """
    palette = np.array([(0, 0, 0, 0), (*FIRST, 255), (*SECOND, 255), (*BOTH, 255)], dtype=np.uint8)
    return Drawing(first.astype(np.uint8) + 2 * second.astype(np.uint8), palette)


def photo(grey: Grey) -> str:
    """Compress a grey picture.

    Parameters
    ----------
    grey : ndarray, shape (rows, columns)
        In [0, 1].

    Returns
    -------
    str
        A data URI of a JPEG.
    """
    image = Pillow.fromarray(np.round(255 * grey).astype(np.uint8))
    return _uri(image, "jpeg", quality=_QUALITY, optimize=True)


def _uri(image: Pillow.Image, kind: str, **how: Any) -> str:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
