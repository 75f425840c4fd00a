"""A head made by formulas: a pair of T1-like images whose true transform is known everywhere.

The anatomy is a continuous function of a world point (mm, RAS, origin near the anterior commissure): nested layers,
each a signed distance to its surface, painted from the outside in. Both images are sampled from that function, never
from another image: the fixed one at its voxels p, the moving one at its voxels q through the inverse of the known warp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.spatial.grid import Grid, Shape, slabs
from sacbnet.spatial.transforms import Affine

Array = NDArray[np.floating]
Layer = tuple[
    int, float, Array
]  # label, T1-like intensity (white matter of the cerebrum 0.85), signed distance in mm

_NAMES = """scalp and face, skull, cerebrospinal fluid, cerebral cortex, cerebral white matter, lateral ventricles,
left thalamus, right thalamus, left caudate, right caudate, left putamen, right putamen, cerebellum, brainstem"""
STRUCTURES = dict(enumerate(_NAMES.replace("\n", " ").split(", "), start=1))  # label -> name
HEAD_CENTRE = np.array([0.0, -8.0, 2.0])  # mm, RAS; the known affine turns and scales about it
SULCUS_DEPTH, SULCUS_HALF_WIDTH, CORTEX_THICKNESS = 15.0, 0.9, 3.2  # mm
FOLD_WAVELENGTH = 27.0  # mm; two sulci in each, since a sulcus follows every zero of the wave


def times(rows: Array, matrix: NDArray[np.float64]) -> Array:
    """(..., k) @ (k, m), 128 rows at a time: for a longer product BLAS starts threads, which on a busy machine lose
    more in waiting for each other than they gain (three times the run time of a phantom)."""
    flat, m = rows.reshape(-1, rows.shape[-1]), matrix.astype(rows.dtype)
    whole = len(flat) // 128 * 128
    many = (flat[:whole].reshape(-1, 128, flat.shape[1]) @ m).reshape(whole, m.shape[1])
    return np.concatenate([many, flat[whole:] @ m]).reshape(*rows.shape[:-1], m.shape[1])


@dataclass(frozen=True)
class Ellipsoid:
    """centre, radii: mm along (R, A, S). pitch: degrees about R (front up). yaw: about S (front to the left)."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    pitch: float = 0.0
    yaw: float = 0.0

    @property
    def mirrored(self) -> Ellipsoid:
        """Its counterpart in the other half of the head."""
        return Ellipsoid((-self.centre[0], *self.centre[1:]), self.radii, self.pitch, -self.yaw)

    @property
    def axes(self) -> NDArray[np.float64]:
        """(3, 3): unit vectors of the three radii in the world, as columns."""
        return rotation((0, 0, 1), self.yaw) @ rotation((1, 0, 0), self.pitch)

    def distance(self, points: Array) -> Array:
        """(..., 3) world mm -> (...): signed distance to the surface in mm to first order, negative inside."""
        local = times(points - np.asarray(self.centre, points.dtype), self.axes / self.radii)
        radius = np.sqrt(
            np.einsum("...i,...i", local, local) + 1e-12
        )  # 0 / 0 at the centre would be outside
        local /= np.asarray(self.radii, points.dtype)
        gradient = np.sqrt(
            np.einsum("...i,...i", local, local) + 1e-12 / self.radii[0] ** 2
        )  # times the radius
        return radius * (radius - 1) / gradient

    def surface(self, directions: Array) -> NDArray[np.float64]:
        """Unit vectors (n, 3) -> the points of the surface (n, 3), world mm, in those directions."""
        return np.asarray(self.centre) + (directions * self.radii) @ self.axes.T


@dataclass(frozen=True, eq=False)
class Waves:
    """A smooth random function, sum of sinusoids: (..., 3) world mm -> (..., m).

    frequency: (n, 3) radians per mm. phase: (n,) radians. weight: (n, m).
    """

    frequency: NDArray[np.float64]
    phase: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def random(
        cls, rng: np.random.Generator, count: int, low: float, high: float, components: int = 1
    ) -> Waves:
        """Unit variance in each component; wavelengths from low to high, in mm, in every direction."""
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        frequency = direction * (2 * np.pi / rng.uniform(low, high, (count, 1)))
        weight = rng.normal(size=(count, components))
        weight *= np.sqrt(2 / (weight**2).sum(axis=0))
        return cls(frequency, rng.uniform(0, 2 * np.pi, count), weight)

    def __call__(self, points: Array) -> Array:
        return times(
            np.sin(times(points, self.frequency.T) + self.phase.astype(points.dtype)), self.weight
        )

    def gradient(self, points: Array) -> Array:
        """(..., 3) world mm -> (..., m, 3), per mm."""
        outer = self.weight[:, :, None] * self.frequency[:, None, :]
        cosines = np.cos(times(points, self.frequency.T) + self.phase.astype(points.dtype))
        return times(cosines, outer.reshape(len(outer), -1)).reshape(
            *points.shape[:-1], *outer.shape[1:]
        )


def rotation(axis: object, degrees: float) -> NDArray[np.float64]:
    """(3, 3) rotation about an axis through the origin (Rodrigues)."""
    x, y, z = np.asarray(axis, dtype=np.float64)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / np.sqrt(x * x + y * y + z * z)
    return (
        np.eye(3)
        + np.sin(np.deg2rad(degrees)) * cross
        + (1 - np.cos(np.deg2rad(degrees))) * cross @ cross
    )


def union(*distances: Array, blend: float = 0.0) -> Array:
    """Signed distance to the union of shapes; where two surfaces meet, rounded over about `blend` mm."""
    out = distances[0]
    for d in distances[1:]:
        out = np.minimum(out, d) - (
            np.maximum(blend - np.abs(out - d), 0) ** 2 / (4 * blend) if blend else 0
        )
    return out


ENVELOPE = Ellipsoid((0, -8, -24), (92, 124, 132))  # around the whole head
CEREBRUM = Ellipsoid((0, -14, 12), (62, 79, 58))
TEMPORAL = Ellipsoid((43, 0, -22), (18, 38, 17), pitch=-12, yaw=8)
CALLOSUM = Ellipsoid((0, -10, 4), (60, 42, 24))  # the fissure between the hemispheres ends at it
CEREBELLUM = Ellipsoid((23, -62, -36), (29, 30, 23), pitch=12)
VERMIS = Ellipsoid((0, -60, -32), (14, 23, 20))
BRAINSTEM = (Ellipsoid((0, -30, -62), (9, 9, 60), pitch=6), Ellipsoid((0, -24, -27), (16, 13, 15)))
NECK, FACE = Ellipsoid((0, -28, -130), (52, 56, 90)), Ellipsoid((0, 34, -62), (52, 46, 58))
NOSE = Ellipsoid((0, 80, -58), (11, 16, 20), pitch=-15)
EYE, AIRWAY = Ellipsoid((31, 63, -34), (12, 12.5, 12)), Ellipsoid((0, 48, -66), (9, 26, 14))
VENTRICLE = (
    Ellipsoid((9, 2, 17), (5, 31, 8), pitch=6, yaw=-6),
    Ellipsoid((19, -40, 12), (6, 22, 8), pitch=6, yaw=24),
)
DEEP = {  # label of the right-hand structure (the left-hand one is one less): (intensity, shape)
    8: (0.70, Ellipsoid((12, -19, 6), (9.5, 15, 9.5), yaw=25)),
    10: (0.60, Ellipsoid((15, 14, 10), (6, 18, 10), pitch=8, yaw=12)),
    12: (0.63, Ellipsoid((28, 4, 1), (6.5, 18, 11), yaw=14)),
}


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What is at a world point (mm, RAS). folds: where the sulci run. texture: variation within the tissues."""

    folds: Waves
    texture: Waves

    @classmethod
    def random(cls, rng: np.random.Generator) -> Anatomy:
        return cls(
            Waves.random(rng, 32, 0.9 * FOLD_WAVELENGTH, 1.1 * FOLD_WAVELENGTH),
            Waves.random(rng, 12, 14, 45),
        )

    def sample(
        self, points: NDArray[np.float64], blur_mm: float
    ) -> tuple[Array, NDArray[np.uint8]]:
        """Intensity (0 air, about 1 fat) and label at world points (..., 3).

        A voxel that a surface crosses takes a share of both sides (partial volume), linear in the signed distance over
        `blur_mm`: an eighth of the work of sampling it twice along each axis. The label is that of the point itself.
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

    def layers(self, p: Array) -> Iterator[Layer]:
        """From the outside in; each covers those before it."""
        left_right = np.concatenate(
            [np.abs(p[..., :1]), p[..., 1:]], axis=-1
        )  # symmetric but for the folds
        flat = -union(
            -CEREBRUM.distance(left_right), p[..., 2] + 17, blend=14
        )  # inside the one, above the other
        cerebrum = union(flat, TEMPORAL.distance(left_right), blend=8)  # the hull, without folds
        cerebellum = union(CEREBELLUM.distance(left_right), VERMIS.distance(left_right), blend=5)
        stem = union(*(e.distance(p) for e in BRAINSTEM), blend=8)
        cranium = union(cerebrum, cerebellum, blend=30)
        yield from self._outside(left_right, cranium, stem)
        folia = (
            15 * np.arctan2(p[..., 2] + 34, -p[..., 1] - 44) + 0.06 * p[..., 0]
        )  # radiate from the 4th ventricle
        yield 13, 0.58, cerebellum + 1 + np.sin(2 * folia)
        yield 13, 0.80, cerebellum + 7.5 + 4.5 * np.sin(folia)
        sulcus = self._distance_to_sulcus(p, cerebrum)
        yield 4, 0.57, np.maximum(cerebrum, SULCUS_HALF_WIDTH - sulcus)
        yield 5, 0.85, np.maximum(cerebrum, SULCUS_HALF_WIDTH - sulcus) + CORTEX_THICKNESS
        yield 14, 0.80, stem
        yield from self._deep(p, left_right)

    @staticmethod
    def _outside(p: Array, cranium: Array, stem: Array) -> Iterator[Layer]:
        head = union(cranium - 13, NECK.distance(p), FACE.distance(p), blend=25)
        yield 1, 0.95, union(head, NOSE.distance(p), blend=6)  # fat
        yield 1, 0.50, np.maximum(head + 5, 6 - cranium)  # muscle
        yield 1, 0.95, EYE.distance(p) - 3
        yield 1, 0.22, EYE.distance(p)
        yield 1, 0.05, AIRWAY.distance(p)
        yield 2, 0.12, cranium - 8.5
        yield 2, 0.40, np.abs(cranium - 5.7) - 0.9  # marrow between the two tables of bone
        yield 3, 0.20, union(cranium - 2.5, stem - 3, blend=4)

    def _distance_to_sulcus(self, p: Array, cerebrum: Array) -> Array:
        """mm to the middle of the nearest sulcus or of the fissure between the hemispheres."""
        out = np.hypot(p[..., 0], np.maximum(-CALLOSUM.distance(p), 0))
        near = (cerebrum < 2) & (
            cerebrum > -SULCUS_DEPTH - 6
        )  # elsewhere the sulci make no difference
        inside, depth = p[near], -cerebrum[near]
        outward = inside - np.asarray(CEREBRUM.centre, p.dtype)
        outward *= (0.75 * depth / np.linalg.norm(outward, axis=-1))[
            :, None
        ]  # 1 would give straight radial sulci
        at = inside + outward
        slope = np.linalg.norm(self.folds.gradient(at)[:, 0], axis=-1)
        aside = np.abs(self.folds(at)[:, 0]) / (
            slope + 0.02
        )  # mm to where the wave is 0, to first order
        out[near] = np.minimum(out[near], np.hypot(aside, np.maximum(depth - SULCUS_DEPTH, 0)))
        return out

    @staticmethod
    def _deep(p: Array, left_right: Array) -> Iterator[Layer]:
        right = p[..., 0] > 0
        for label, (value, shape) in DEEP.items():
            distance = shape.distance(left_right)
            yield label, value, np.where(right, distance, np.inf)
            yield label - 1, value, np.where(right, np.inf, distance)
        yield 6, 0.20, union(*(e.distance(left_right) for e in VENTRICLE), blend=5)

    def landmarks(self) -> NDArray[np.float64]:
        """(n, 3) world mm: centres and surface points of deep structures and cerebellum, points in the cortex."""
        ways = np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
        right = [e for _, e in DEEP.values()] + [*VENTRICLE, CEREBELLUM]
        points = [e.surface(ways) for e in right] + [e.mirrored.surface(ways) for e in right]
        points.append(BRAINSTEM[1].surface(ways))
        height = 1 - (2 * np.arange(160) + 1) / 160  # a spiral of equal steps over the sphere
        turn, ring = np.arange(160) * np.pi * (3 - np.sqrt(5)), np.sqrt(1 - height**2)
        sphere = np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=-1)
        cortex = CEREBRUM.surface(sphere * 0.97)
        points.append(cortex[self.sample(cortex, 1.0)[1] == 4])
        return np.concatenate(points)


@dataclass(frozen=True, eq=False)
class KnownWarp:
    """The true map of points, fixed world -> moving world (mm, RAS): affine ∘ (id + bend)^-1.

    The bend is analytic from moving to fixed, as the many voxels of the moving image need it; the few points that ask
    for the truth go the other way by Newton's method, to 1e-6 mm.
    """

    affine: Affine
    bend: Waves = field(repr=False)

    @classmethod
    def random(cls, rng: np.random.Generator, peak_mm: float = 9.0) -> KnownWarp:
        """6-10° of rotation, 10-15 mm of translation, 3-6 % of scaling, and a bend of at most peak_mm in the head."""
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
        while (
            not 0.4
            < (volume := np.linalg.det(np.eye(3) + factor * slope)).min()
            <= volume.max()
            < 2.5
        ):
            factor *= 0.95  # until, with the affine, det J > 0.3 in both directions
        return cls(Affine(matrix), replace(bend, weight=factor * bend.weight))

    def inverse(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Moving world points (..., 3) -> fixed world points."""
        inner = self.affine.inverse(points)
        return inner + self.bend(inner)

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Fixed world points (..., 3) -> moving world points."""
        p = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        parts = [
            self._unbend(p[i : i + 16384]) for i in range(0, max(len(p), 1), 16384)
        ]  # bounds memory
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
            "the known warp has no inverse at these points; points of the head (mm, RAS) were expected"
        )


@dataclass(frozen=True, eq=False)
class PhantomPair:
    """Two images of a head and the truth between them.

    fixed, moving: float32, each in its own units. fixed_labels, moving_labels: uint8. structures: label -> name.
    true_map: fixed world points (..., 3) -> moving world points, mm RAS; true_map.inverse goes back.
    landmarks: (n, 3) fixed world mm; centres and surfaces of structures, on which to measure the error.
    """

    fixed: Image
    fixed_labels: Image
    moving: Image
    moving_labels: Image
    structures: dict[int, str]
    true_map: KnownWarp
    landmarks: NDArray[np.float64] = field(repr=False)


def make_pair(seed: int = 0, peak_mm: float = 9.0) -> PhantomPair:
    """Make a fixed and a moving head with different spacing, orientation, size, intensities, bias field and noise.

    seed: decides folds, texture, warp, bias and noise. peak_mm: largest displacement of the non-linear part in the
    head, in mm; less where that much would fold. The same arguments give the same bytes, from no global random state.
    """
    if not 0 <= peak_mm <= 50:
        raise InputError(
            f"the peak displacement is {peak_mm} mm; a value from 0 to 50 was expected"
        )
    rng = np.random.default_rng(seed)
    anatomy, warp = Anatomy.random(rng), KnownWarp.random(rng, peak_mm)
    fixed_grid = oblique_grid(
        (96, 112, 96), (1.8, 1.8, 1.8), "LAS", (6, -3, 4), np.add(HEAD_CENTRE, (1, 2, 0))
    )
    centre = warp.affine(HEAD_CENTRE + np.array([-3, 2, 4]))
    moving_grid = oblique_grid((144, 128, 84), (1.5, 1.5, 2.2), "PIR", (-5, 4, -7), centre)
    fixed, fixed_labels = _acquire(anatomy, None, fixed_grid, rng, blur_mm=1.8)
    moving, moving_labels = _acquire(anatomy, warp, moving_grid, rng, blur_mm=1.8)
    return PhantomPair(
        Image(
            np.rint(fixed * 1050), fixed_grid, "phantom fixed"
        ),  # whole numbers, as scanners store them
        Image(fixed_labels, fixed_grid, "phantom fixed labels"),
        Image(
            moving**0.9 * 80, moving_grid, "phantom moving"
        ),  # another gain, and another contrast
        Image(moving_labels, moving_grid, "phantom moving labels"),
        dict(STRUCTURES),
        warp,
        anatomy.landmarks(),
    )


def oblique_grid(
    shape: Shape, spacing: object, codes: str, degrees: tuple[float, ...], centre: object
) -> Grid:
    """A grid whose voxel axes run towards `codes` ("LAS": left, anterior, superior), turned about R, A and S."""
    signed = {code: np.eye(3)[i // 2] * (-1) ** i for i, code in enumerate("RLAPSI")}
    turn = (
        rotation((1, 0, 0), degrees[0])
        @ rotation((0, 1, 0), degrees[1])
        @ rotation((0, 0, 1), degrees[2])
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.stack([signed[c] for c in codes], axis=1) * np.asarray(spacing)
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def _acquire(
    anatomy: Anatomy,
    warp: KnownWarp | None,
    grid: Grid,
    rng: np.random.Generator,
    blur_mm: float,
    noise: float = 0.02,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image (float32, 0 to about 1.2) and labels at the voxels of a grid; the bias field belongs to the scanner."""
    bias = Waves.random(rng, 4, 250, 450)
    image, labels = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.uint8)
    for low, points in slabs(grid, points_at_once=1 << 16):
        here = slice(low, low + len(points))
        value, labels[here] = anatomy.sample(
            points if warp is None else warp.inverse(points), blur_mm
        )
        image[here] = value * np.exp(0.12 * bias(points)[..., 0])
    real, imaginary = (rng.normal(0, noise, grid.shape).astype(np.float32) for _ in range(2))
    return np.hypot(
        image + real, imaginary
    ), labels  # the magnitude of a complex signal: Rician noise, as in MRI
