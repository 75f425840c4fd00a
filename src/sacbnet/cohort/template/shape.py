"""The mean of several maps from a template to images: of their affines, and of what is beyond.

References
----------
A. Guimond et al., "Average brain models: a convergence study", CVIU 2000.
V. Arsigny et al., "A Log-Euclidean polyaffine framework", JMIV 2009.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm, logm

from sacbnet.spatial.grid import Grid
from sacbnet.spatial.invert import invert
from sacbnet.spatial.transforms import Affine, DisplacementField, chain

_ROUNDS = 30
_STILL = 1e-9  # of the matrices


@dataclass(frozen=True, eq=False)
class Shape:
    """A mean map p -> affine(p + u(p)).

    Parameters
    ----------
    affine : Affine
        The mean of the affine parts.
    field : DisplacementField
        The mean of the displacements, which come before the affine.
    """

    affine: Affine
    field: DisplacementField

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points (..., 3)."""
        return chain(self.affine, self.field)(points)

    def inverse(self) -> DisplacementField:
        """Invert the map, on the grid of its displacement.

        Returns
        -------
        DisplacementField
            The inverse, affine included.
        """
        grid = self.field.grid
        return invert(chain(self.affine, self.field), grid, grid, self.affine).field

    @property
    def size_mm(self) -> float:
        """How far it is from the identity: the root mean square of its motion on the grid, mm."""
        whole = DisplacementField.from_map(chain(self.affine, self.field), self.field.grid)
        return float(np.sqrt(np.mean(np.sum(whole.displacement_mm.astype(float) ** 2, axis=-1))))


def mean_affine(affines: Sequence[Affine]) -> Affine:
    """Find the mean of affines: the one from which their logarithms sum to zero.

    Of rigid maps it is rigid; of a map and its inverse it is the identity.

    Parameters
    ----------
    affines : sequence of Affine
        At least one. None of them may turn by half a circle against the others.

    Returns
    -------
    Affine
        The mean.
    """
    matrices = np.stack([a.matrix for a in affines])
    # begun at the one that lies nearest to the others
    distances = [np.abs(matrices - m).sum() for m in matrices]
    mean = matrices[int(np.argmin(distances))].copy()
    for _ in range(_ROUNDS):
        step = np.mean([np.real(logm(np.linalg.solve(mean, m))) for m in matrices], axis=0)
        mean = mean @ expm(step)
        if np.abs(step).max() < _STILL:
            break
    mean[3] = (0, 0, 0, 1)
    return Affine(mean)


def mean_shape(
    maps: Iterable[tuple[DisplacementField | None, Affine]], grid: Grid, symmetric: bool = False
) -> Shape:
    """Find the mean of maps from a template to images.

    Parameters
    ----------
    maps : iterable of (DisplacementField or None, Affine)
        The map of each image, and its affine part; None if it is nothing but the affine. They are
        taken one at a time.
    grid : Grid
        The grid of the template.
    symmetric : bool, default False
        Whether each image counts once as it is and once as its mirror image.

    Returns
    -------
    Shape
        The mean.
    """
    total = np.zeros((*grid.shape, 3))
    affines, count = [], 0
    for whole, affine in maps:
        affines.append(affine)
        count += 1
        if whole is not None:
            own = DisplacementField.from_map(chain(affine.inverse, whole), grid)
            total += own.displacement_mm
    mean = total / max(count, 1)
    if symmetric:
        mirror = mirror_of(grid)
        affines += [mirror @ a @ mirror for a in affines]
        mean = (mean + mean[::-1] @ mirror.matrix[:3, :3].T) / 2
    return Shape(mean_affine(affines), DisplacementField(grid, mean.astype(np.float32)))


def mirror_of(grid: Grid) -> Affine:
    """Give the reflection of the world that flips a grid along its first axis.

    Parameters
    ----------
    grid : Grid
        A grid whose first axis runs from left to right.

    Returns
    -------
    Affine
        The reflection at the plane through the middle of the grid.
    """
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = grid.shape[0] - 1
    return Affine(grid.affine @ flip @ grid.inverse_affine)
