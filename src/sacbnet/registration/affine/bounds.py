"""Which affines two images of one kind of body can have between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """Limits of the stretch of an affine, which is its singular values.

    Small stretches are free. Larger ones cost score, so that the search does not gain by shrinking
    one body into a corner of the other. What lies beyond the last limits is not handed on.

    Parameters
    ----------
    scale : float, default 1.0
        The expected stretch: the ratio of the sizes of the two bodies.
    free : float, default 1.5
        Factor about the expected stretch that costs nothing.
    free_shape : float, default 1.25
        Factor about the mean of the three stretches that costs nothing.
    weight : float, default 1.0
        Cost of one unit of squared logarithm beyond these factors.
    most : float, default 3.0
        Largest factor about the expected stretch.
    most_shape : float, default 2.0
        Largest factor about the mean of the three stretches.
    """

    scale: float = 1.0
    free: float = 1.5
    free_shape: float = 1.25
    weight: float = 1.0
    most: float = 3.0
    most_shape: float = 2.0

    def cost(self, matrix: Array) -> tuple[float, Array]:
        """Compute what the stretch of an affine costs.

        Parameters
        ----------
        matrix : array, shape (4, 4)
            The affine.

        Returns
        -------
        cost : float
            0 inside the free factors.
        gradient : array, shape (3, 3)
            Derivative of the cost by the linear part of the affine.
        """
        if not np.isfinite(matrix).all():  # such an affine scores nothing
            return 0.0, np.zeros((3, 3))
        left, stretch, right = np.linalg.svd(matrix[:3, :3])
        log = np.log(np.maximum(stretch, 1e-6))
        beyond = _beyond(log - np.log(self.scale), np.log(self.free))
        shape = _beyond(log - log.mean(), np.log(self.free_shape))
        cost = self.weight * float((beyond**2).sum() + (shape**2).sum())
        if not cost:
            return 0.0, np.zeros((3, 3))
        by_log = 2 * self.weight * (beyond + shape - shape.mean())
        return cost, (left * (by_log / np.maximum(stretch, 1e-6))) @ right

    def allow(self, matrix: Array) -> bool:
        """Say whether an affine is sound.

        Parameters
        ----------
        matrix : array, shape (4, 4)
            The affine.

        Returns
        -------
        bool
            False if a value is not finite, if the affine mirrors or collapses, or if a stretch is
            beyond the last limits.
        """
        if not np.isfinite(matrix).all() or np.linalg.det(matrix[:3, :3]) <= 0:
            return False
        log = np.log(np.maximum(np.linalg.svd(matrix[:3, :3])[1], 1e-300))
        return bool(
            np.abs(log - np.log(self.scale)).max() <= np.log(self.most)
            and np.abs(log - log.mean()).max() <= np.log(self.most_shape)
        )


def _beyond(x: Array, free: float) -> Array:
    return np.asarray(np.sign(x) * np.maximum(np.abs(x) - free, 0))
