"""4x4 matrices of affine maps: their check, and points mapped by them."""

from __future__ import annotations

from math import sin, sqrt

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import GridError


def as_affine(matrix: object, what: str = "affine") -> NDArray[np.float64]:
    """Check a 4x4 affine and copy it.

    Parameters
    ----------
    matrix : array_like, shape (4, 4)
        The affine.
    what : str, default "affine"
        What error messages call the affine.

    Returns
    -------
    ndarray of float64, shape (4, 4)
        A read-only copy, its last row exactly (0, 0, 0, 1).

    Raises
    ------
    GridError
        If the shape is not (4, 4), a value is not finite, the last row is not (0, 0, 0, 1), or the
        affine cannot be inverted.
    """
    out = np.array(matrix, dtype=np.float64)
    if out.shape != (4, 4):
        raise GridError(f"the {what} has shape {out.shape}; a 4x4 matrix was expected")
    if not np.isfinite(out).all():
        raise GridError(f"the {what} holds NaN or infinite values; repair the image's header")
    if not np.allclose(out[3], [0, 0, 0, 1]):
        raise GridError(f"the {what} ends in the row {out[3].tolist()}; [0, 0, 0, 1] was expected")
    scale = np.linalg.norm(out[:3, :3], axis=0)
    if scale.min() < 1e-6 or abs(np.linalg.det(out[:3, :3] / scale)) < 1e-4:
        raise GridError(
            f"the {what} is singular (voxel axes {scale.round(6).tolist()} mm); "
            "repair the image's header"
        )
    out[3] = [0, 0, 0, 1]
    out.setflags(write=False)
    return out


def rotation(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn about an axis, by Rodrigues' formula.

    scipy has the same, but an alignment calls it some thousand times, and there the import and the
    calls of scipy together take .7 s.

    Parameters
    ----------
    vector : ndarray, shape (3,)
        The axis, times the angle in radians.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        The rotation.

    Examples
    --------
    >>> rotation(np.array([0, 0, np.pi / 2])).round(6).tolist()
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    x, y, z = map(float, vector)
    cross: NDArray[np.float64] = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turned: NDArray[np.float64] = np.eye(3)
    angle = sqrt(x * x + y * y + z * z)
    if angle < 1e-8:
        turned += cross
    else:
        half = sin(angle / 2) / angle  # 2 half² is (1 - cos) / angle² without its loss of digits
        turned += sin(angle) / angle * cross + 2 * half**2 * (cross @ cross)
    return turned


def transform_points(
    matrix: NDArray[np.float64], points: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Map points by a 4x4 matrix.

    Parameters
    ----------
    matrix : ndarray of float64, shape (4, 4)
        The affine map.
    points : ndarray, shape (..., 3)
        The points.

    Returns
    -------
    ndarray of float64, shape (..., 3)
        The mapped points.
    """
    flat = np.ascontiguousarray(points, dtype=np.float64).reshape(-1, 3)
    out = np.empty_like(flat)
    # 128 rows at a time: for longer products BLAS starts threads, and their busy waiting costs time
    # where processes share the cores
    whole = len(flat) // 128 * 128
    np.matmul(
        flat[:whole].reshape(-1, 128, 3), matrix[:3, :3].T, out=out[:whole].reshape(-1, 128, 3)
    )
    np.matmul(flat[whole:], matrix[:3, :3].T, out=out[whole:])
    out += matrix[:3, 3]
    return out.reshape(np.shape(points))
