"""Trilinear interpolation: its one definition in Python, and the same with derivatives.

A point lies in a cell of eight voxels, its corners. The value at the point is the sum over the
corners of value times weight. The weight of a corner is a product of three factors, one for each
axis: the fraction for a high corner, and 1 minus the fraction for a low corner.

Python code that needs linear interpolation uses this module, or `sacbnet.spatial.warp.sample`,
which calls ``grid_sample`` of torch. The compiled kernels have their own forms. Tests compare all
of them with `interpolate`.
"""

from __future__ import annotations

from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = TypeVar("Array", Tensor, NDArray[np.float64])

CORNERS = tuple(product((0, 1), repeat=3))  # (i, j, k) of a cell's corners, in row-major order


def interpolate(corners: Array, fraction: Array) -> Array:
    """Values at points inside cells, linear along each axis.

    Parameters
    ----------
    corners : Tensor or ndarray, shape (2, 2, 2, n)
        Values at the eight corners of each point's cell, low and high along i, j and k.
    fraction : Tensor or ndarray, shape (3, n)
        Place of the point in its cell along (i, j, k): 0 at the low corner, 1 at the high one.

    Returns
    -------
    Tensor or ndarray, shape (n,)
        The interpolated values.

    Examples
    --------
    >>> corners = np.arange(8.0).reshape(2, 2, 2, 1)  # the value is 4 i + 2 j + k
    >>> interpolate(corners, np.array([[0.5], [0.0], [1.0]])).tolist()
    [3.0]
    """
    factors = (1 - fraction, fraction)  # of the low and of the high corners, each (3, n)
    values: Array = 0 * fraction[0]
    for i, j, k in CORNERS:
        values = values + corners[i, j, k] * (factors[i][0] * factors[j][1] * factors[k][2])
    return values


def interpolate_with_slopes(
    corners: Array, fraction: Array
) -> tuple[Array, tuple[Array, Array, Array]]:
    """Values at points inside cells, and their derivatives with respect to the points.

    The arithmetic of `interpolate` is rearranged into steps along k, then j, then i. The
    derivatives follow from the same steps. The values agree with those of `interpolate` up to
    rounding.

    Parameters
    ----------
    corners : Tensor or ndarray, shape (2, 2, 2, n)
        Values at the eight corners of each point's cell, low and high along i, j and k.
    fraction : Tensor or ndarray, shape (3, n)
        Place of the point in its cell along (i, j, k): 0 at the low corner, 1 at the high one.

    Returns
    -------
    values : Tensor or ndarray, shape (n,)
        The interpolated values. Where all corners have one value, it is exactly that value.
    slopes : tuple of three Tensor or ndarray, each of shape (n,)
        The derivatives of the values along i, j and k, per voxel, inside the cell.

    Examples
    --------
    >>> corners = np.arange(8.0).reshape(2, 2, 2, 1)
    >>> value, slopes = interpolate_with_slopes(corners, np.full((3, 1), 0.5))
    >>> value.tolist(), [slope.tolist() for slope in slopes]
    ([3.5], [[4.0], [2.0], [1.0]])
    """
    a, b, c = fraction
    by_k = corners[:, :, 1] - corners[:, :, 0]
    at_k = corners[:, :, 0] + c * by_k
    by_j = at_k[:, 1] - at_k[:, 0]
    at_jk = at_k[:, 0] + b * by_j
    by_i = at_jk[1] - at_jk[0]
    by_k = by_k[:, 0] + b * (by_k[:, 1] - by_k[:, 0])
    slopes = by_i, by_j[0] + a * (by_j[1] - by_j[0]), by_k[0] + a * (by_k[1] - by_k[0])
    return at_jk[0] + a * by_i, slopes
