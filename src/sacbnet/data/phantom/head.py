"""The head of the phantom: nested layers, each with a signed distance to its surface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .shapes import Array, Ellipsoid, Waves, union

_Layer = tuple[int, float, Array]  # label, T1-like intensity, signed distance in mm
STRUCTURES = {
    1: "scalp and face",
    2: "skull",
    3: "cerebrospinal fluid",
    4: "cerebral cortex",
    5: "cerebral white matter",
    6: "lateral ventricles",
    7: "left thalamus",
    8: "right thalamus",
    9: "left caudate",
    10: "right caudate",
    11: "left putamen",
    12: "right putamen",
    13: "cerebellum",
    14: "brainstem",
}
HEAD_CENTRE = np.array([0.0, -8.0, 2.0])  # mm, RAS; the known affine turns and scales about it
_SULCUS_DEPTH, _SULCUS_HALF_WIDTH, _CORTEX_THICKNESS = 15.0, 0.9, 3.2  # mm
_FOLD_WAVELENGTH = 27.0  # mm; it holds two sulci, since a sulcus follows every zero of the wave

ENVELOPE = Ellipsoid((0, -8, -24), (92, 124, 132))  # around the whole head
_CEREBRUM = Ellipsoid((0, -14, 12), (62, 79, 58))
_TEMPORAL = Ellipsoid((43, 0, -22), (18, 38, 17), pitch=-12, yaw=8)
_CALLOSUM = Ellipsoid((0, -10, 4), (60, 42, 24))  # the fissure between the hemispheres ends at it
_CEREBELLUM = Ellipsoid((23, -62, -36), (29, 30, 23), pitch=12)
_VERMIS = Ellipsoid((0, -60, -32), (14, 23, 20))
_BRAINSTEM = (Ellipsoid((0, -30, -62), (9, 9, 60), pitch=6), Ellipsoid((0, -24, -27), (16, 13, 15)))
_NECK, _FACE = Ellipsoid((0, -28, -130), (52, 56, 90)), Ellipsoid((0, 34, -62), (52, 46, 58))
_NOSE = Ellipsoid((0, 80, -58), (11, 16, 20), pitch=-15)
_EYE, _AIRWAY = Ellipsoid((31, 63, -34), (12, 12.5, 12)), Ellipsoid((0, 48, -66), (9, 26, 14))
_VENTRICLE = (
    Ellipsoid((9, 2, 17), (5, 31, 8), pitch=6, yaw=-6),
    Ellipsoid((19, -40, 12), (6, 22, 8), pitch=6, yaw=24),
)
# label of the right-hand structure (the left-hand one is one less): (intensity, shape)
_DEEP = {
    8: (0.70, Ellipsoid((12, -19, 6), (9.5, 15, 9.5), yaw=25)),
    10: (0.60, Ellipsoid((15, 14, 10), (6, 18, 10), pitch=8, yaw=12)),
    12: (0.63, Ellipsoid((28, 4, 1), (6.5, 18, 11), yaw=14)),
}


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The head as a continuous function of a world point (mm, RAS).

    The origin lies near the anterior commissure.

    Parameters
    ----------
    folds : Waves
        Its zeros are the places of the sulci.
    texture : Waves
        Variation of the intensity within the tissues.
    """

    folds: Waves
    texture: Waves

    @classmethod
    def random(cls, rng: np.random.Generator) -> Anatomy:
        """Draw a head: its folds and its texture; the other structures are the same in every head.

        Parameters
        ----------
        rng : numpy.random.Generator
            The source of random numbers.

        Returns
        -------
        Anatomy
            The head.
        """
        return cls(
            Waves.random(rng, 32, 0.9 * _FOLD_WAVELENGTH, 1.1 * _FOLD_WAVELENGTH),
            Waves.random(rng, 12, 14, 45),
        )

    def sample(
        self, points: NDArray[np.float64], blur_mm: float
    ) -> tuple[Array, NDArray[np.uint8]]:
        """Give intensity and label at world points.

        A voxel that a surface crosses takes a share of both sides (partial volume). The share is
        linear in the signed distance over `blur_mm`; this needs an eighth of the time of two
        samples along each axis.

        Parameters
        ----------
        points : ndarray, shape (..., 3)
            World mm (RAS).
        blur_mm : float
            The width over which a surface is blurred.

        Returns
        -------
        image : ndarray, shape (...)
            float32; 0 in air, about 1 in fat.
        labels : ndarray, shape (...)
            uint8; the label of the point itself, a key of `STRUCTURES`, or 0.
        """
        p = points.astype(np.float32)
        image, labels = np.zeros(p.shape[:-1], np.float32), np.zeros(p.shape[:-1], np.uint8)
        near = ENVELOPE.distance(p) < 0  # half of a box is air
        p, value, label = p[near], image[near], labels[near]
        for number, intensity, distance in self.layers(p):
            value += np.clip(0.5 - distance / blur_mm, 0, 1) * (intensity - value)
            label[distance < 0] = number
        image[near], labels[near] = value * (1 + 0.05 * self.texture(p)[..., 0]), label
        return image, labels

    def layers(self, p: Array) -> Iterator[_Layer]:
        """Give the layers of the head, from the outside in.

        Parameters
        ----------
        p : ndarray, shape (..., 3)
            World mm (RAS).

        Yields
        ------
        label : int
            A key of `STRUCTURES`.
        intensity : float
            T1-like; the white matter of the cerebrum has 0.85.
        distance : ndarray, shape (...)
            Signed distance to the surface in mm. A layer covers the layers before it.
        """
        # all structures except the folds are symmetric
        left_right = np.concatenate([np.abs(p[..., :1]), p[..., 1:]], axis=-1)
        # inside the ellipsoid and above a plane
        flat = -union(-_CEREBRUM.distance(left_right), p[..., 2] + 17, blend=14)
        cerebrum = union(flat, _TEMPORAL.distance(left_right), blend=8)  # the hull, without folds
        cerebellum = union(_CEREBELLUM.distance(left_right), _VERMIS.distance(left_right), blend=5)
        stem = union(*(e.distance(p) for e in _BRAINSTEM), blend=8)
        cranium = union(cerebrum, cerebellum, blend=30)
        yield from self._outside(left_right, cranium, stem)
        # the folia radiate from the fourth ventricle
        folia = 15 * np.arctan2(p[..., 2] + 34, -p[..., 1] - 44) + 0.06 * p[..., 0]
        yield 13, 0.58, cerebellum + 1 + np.sin(2 * folia)
        yield 13, 0.80, cerebellum + 7.5 + 4.5 * np.sin(folia)
        sulcus = self._distance_to_sulcus(p, cerebrum)
        yield 4, 0.57, np.maximum(cerebrum, _SULCUS_HALF_WIDTH - sulcus)
        yield 5, 0.85, np.maximum(cerebrum, _SULCUS_HALF_WIDTH - sulcus) + _CORTEX_THICKNESS
        yield 14, 0.80, stem
        yield from self._deep(p, left_right)

    @staticmethod
    def _outside(p: Array, cranium: Array, stem: Array) -> Iterator[_Layer]:
        head = union(cranium - 13, _NECK.distance(p), _FACE.distance(p), blend=25)
        yield 1, 0.95, union(head, _NOSE.distance(p), blend=6)  # fat
        yield 1, 0.50, np.maximum(head + 5, 6 - cranium)  # muscle
        yield 1, 0.95, _EYE.distance(p) - 3
        yield 1, 0.22, _EYE.distance(p)
        yield 1, 0.05, _AIRWAY.distance(p)
        yield 2, 0.12, cranium - 8.5
        yield 2, 0.40, np.abs(cranium - 5.7) - 0.9  # marrow between the two tables of bone
        yield 3, 0.20, union(cranium - 2.5, stem - 3, blend=4)

    def _distance_to_sulcus(self, p: Array, cerebrum: Array) -> Array:
        """Distance in mm to the middle of the nearest sulcus, or of the longitudinal fissure."""
        out: Array = np.hypot(p[..., 0], np.maximum(-_CALLOSUM.distance(p), 0))
        # the sulci matter only here
        near = (cerebrum < 2) & (cerebrum > -_SULCUS_DEPTH - 6)
        inside, depth = p[near], -cerebrum[near]
        outward = inside - np.asarray(_CEREBRUM.centre, p.dtype)
        # a factor of 1 would give straight radial sulci
        outward *= (0.75 * depth / np.linalg.norm(outward, axis=-1))[:, None]
        at = inside + outward
        slope = np.linalg.norm(self.folds.gradient(at)[:, 0], axis=-1)
        # mm to the zero of the wave, to first order
        aside = np.abs(self.folds(at)[:, 0]) / (slope + 0.02)
        out[near] = np.minimum(out[near], np.hypot(aside, np.maximum(depth - _SULCUS_DEPTH, 0)))
        return out

    @staticmethod
    def _deep(p: Array, left_right: Array) -> Iterator[_Layer]:
        right = p[..., 0] > 0
        for label, (value, shape) in _DEEP.items():
            distance = shape.distance(left_right)
            yield label, value, np.where(right, distance, np.inf)
            yield label - 1, value, np.where(right, np.inf, distance)
        yield 6, 0.20, union(*(e.distance(left_right) for e in _VENTRICLE), blend=5)

    def landmarks(self) -> NDArray[np.float64]:
        """Give points that can be found again in every head.

        Returns
        -------
        ndarray, shape (n, 3)
            World mm (RAS): centres and surface points of the deep structures and the cerebellum,
            and points in the cortex.
        """
        ways = np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
        right = [e for _, e in _DEEP.values()] + [*_VENTRICLE, _CEREBELLUM]
        points = [e.surface(ways) for e in right] + [e.mirrored.surface(ways) for e in right]
        points.append(_BRAINSTEM[1].surface(ways))
        height = 1 - (2 * np.arange(160) + 1) / 160  # a spiral of equal steps over the sphere
        turn, ring = np.arange(160) * np.pi * (3 - np.sqrt(5)), np.sqrt(1 - height**2)
        sphere = np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=-1)
        cortex = _CEREBRUM.surface(sphere * 0.97)
        points.append(cortex[self.sample(cortex, 1.0)[1] == 4])
        return np.concatenate(points)
