"""The known warp between the two heads of the phantom."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import InputError
from sacbnet.spatial.transforms import Affine

from .head import HEAD_CENTRE
from .shapes import Waves, rotation

_AT_ONCE = 16384  # points; it bounds the memory


@dataclass(frozen=True, eq=False)
class KnownWarp:
    """The true map of points, fixed to moving, in world mm (RAS): ``affine ∘ (id + bend)⁻¹``.

    From moving to fixed the map is a formula, since every voxel of the moving image needs it. A
    call maps the few points for which the truth is asked, from fixed to moving, by Newton's method,
    to 1e-6 mm.

    Parameters
    ----------
    affine : Affine
        The linear part.
    bend : Waves
        The displacement of the other part, in mm; its three components run along R, A, S.
    """

    affine: Affine
    bend: Waves = field(repr=False)

    @classmethod
    def random(cls, rng: np.random.Generator, peak_mm: float = 9.0) -> KnownWarp:
        """Draw a warp: 6-10° of rotation, 10-15 mm of translation, 3-6 % of scaling, and a bend.

        Parameters
        ----------
        rng : numpy.random.Generator
            The source of random numbers.
        peak_mm : float, default 9
            Largest displacement of the bend in the head. It is less if this would fold.

        Returns
        -------
        KnownWarp
            The warp; its Jacobian determinant is above 0.3 in both directions.
        """
        scale = rng.uniform(1.03, 1.06, 3) ** rng.choice([-1, 1])
        linear = rotation(rng.normal(size=3), rng.uniform(6, 10)) * scale
        shift = rng.normal(size=3)
        matrix = np.eye(4)
        matrix[:3, :3] = linear
        matrix[:3, 3] = (
            HEAD_CENTRE - linear @ HEAD_CENTRE + shift / np.linalg.norm(shift) * rng.uniform(10, 15)
        )
        bend = Waves.random(rng, 30, 75, 170, components=3)
        axis = np.arange(-130.0, 131.0, 6.5)  # more than both images' boxes
        lattice = HEAD_CENTRE + np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
        head = np.abs(lattice - HEAD_CENTRE).max(axis=-1) <= 90
        factor = peak_mm / np.linalg.norm(bend(lattice[head]), axis=-1).max()
        slope = bend.gradient(lattice)
        volume = np.linalg.det(np.eye(3) + factor * slope)
        while not 0.4 < volume.min() <= volume.max() < 2.5:  # with the affine: det J > 0.3
            factor *= 0.95
            volume = np.linalg.det(np.eye(3) + factor * slope)
        return cls(Affine(matrix), replace(bend, weight=factor * bend.weight))

    def inverse(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points of the moving image to points of the fixed image.

        Parameters
        ----------
        points : ndarray, shape (..., 3)
            World mm (RAS).

        Returns
        -------
        ndarray, shape (..., 3)
            World mm (RAS).
        """
        inner = self.affine.inverse(points)
        return inner + self.bend(inner)

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points of the fixed image, shape (..., 3), to points of the moving image."""
        p = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        starts = range(0, max(len(p), 1), _AT_ONCE)
        parts = [self._unbend(p[i : i + _AT_ONCE]) for i in starts]
        return self.affine(np.concatenate(parts)).reshape(np.shape(points))

    def _unbend(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Solve r + bend(r) = p for r."""
        r = p - self.bend(p)
        for _ in range(30):
            error = r + self.bend(r) - p
            if np.abs(error).max(initial=0) < 1e-6:
                return r
            r = r - np.linalg.solve(np.eye(3) + self.bend.gradient(r), error[..., None])[..., 0]
        raise InputError(
            "the known warp has no inverse at these points; points of the head (mm, RAS) were"
            " expected"
        )
