"""Pre-alignment of a synthetic head whose pose is known."""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sacbnet.errors import RegistrationError
from sacbnet.registration.affine import AffineOptions, align
from sacbnet.registration.affine.align import _Search
from sacbnet.registration.affine.bounds import Bounds
from sacbnet.registration.affine.models import affine, climb
from sacbnet.registration.prepare import Layer
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine

module = sys.modules[align.__module__]  # the package's name `align` is the function
_RNG = np.random.default_rng(4)
SPOTS = _RNG.uniform(-1, 1, (24, 3)) * [26, 40, 28]
WIDTHS = _RNG.uniform(6, 12, 24)
HEIGHTS = np.where(np.arange(24) % 2, 1.0, -1.0) * _RNG.uniform(0.15, 0.35, 24)


def sigmoid(distance: np.ndarray, radius: float) -> np.ndarray:
    return 1 / (1 + np.exp((distance - 1) * radius / 1.5))


def head(p: np.ndarray) -> np.ndarray:
    """Intensity at world points (..., 3) in mm.

    An ellipsoid with light and dark spots and a nose; it has no symmetry.
    """
    inside = np.full(p.shape[:-1], 0.5)
    for spot, width, height in zip(SPOTS, WIDTHS, HEIGHTS, strict=True):
        inside += height * np.exp(-((p - spot) ** 2).sum(-1) / (2 * width**2))
    body = sigmoid(np.linalg.norm(p / [38, 58, 44], axis=-1), 38)
    nose = sigmoid(np.linalg.norm((p - [4, 58, -10]) / [8, 12, 9], axis=-1), 8)
    return (body * inside + 0.4 * nose).astype(np.float32)


def points(grid: Grid) -> np.ndarray:
    return grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))


def box(spacing=(2.5, 2.5, 2.5), shape=(64, 64, 64), centre=(0, 0, 0), turn=(0, 0, 0)) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * spacing
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def pose(angles=(0, 0, 0), shift=(0, 0, 0), scale=(1, 1, 1)) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * scale
    matrix[:3, 3] = shift
    return Affine(matrix)


def moved(truth: Affine, grid: Grid) -> Layer:
    """The head as it lies after `truth`: moving(truth(p)) = fixed(p)."""
    return Layer(head(truth.inverse(points(grid))), grid)


@cache
def fixed() -> Layer:
    return Layer(head(points(box())), box())


def error_mm(found: Affine, truth: Affine) -> float:
    """Mean distance over the voxels of the object."""
    inside = points(fixed().grid)[fixed().data > 0.1]
    return float(np.linalg.norm(found(inside) - truth(inside), axis=-1).mean())


@pytest.mark.parametrize(
    "kind, truth",
    [
        ("rigid", pose((0, 0, -25), (30, 0, 0))),
        ("rigid", pose((10, -15, 25), (10, -20, 15))),
        ("affine", pose((5, 10, -8), (3, 2, -6), (1.1, 0.9, 1.05))),
        ("affine", pose((-25, 0, 10), (0, -30, 0), (0.9, 1.1, 1))),
    ],
)
def test_a_known_pose_is_recovered(kind, truth):
    before = error_mm(Affine(), truth)
    assert before > 5
    found = align(fixed(), moved(truth, box()), kind)
    assert error_mm(found, truth) < 1
    if kind == "rigid":
        np.testing.assert_allclose(
            found.matrix[:3, :3] @ found.matrix[:3, :3].T, np.eye(3), atol=1e-6
        )
        assert np.linalg.det(found.matrix[:3, :3]) > 0


def test_onto_a_grid_of_another_kind():
    """The moving image has thick, oblique slices, a mirrored axis and an inverted contrast."""
    truth = pose((12, 5, -10), (8, -6, 10))
    grid = box((2, -2, 4), (76, 76, 44), centre=(5, 0, 8), turn=(30, 10, -20))
    layer = moved(truth, grid)
    inverted = Layer(np.where(layer.data > 0.05, 1.2 - layer.data, 0).astype(np.float32), grid)
    assert error_mm(align(fixed(), inverted, "rigid"), truth) < 1


def test_headers_that_do_not_overlap():
    """The images lie more than half a metre apart, as if one origin was lost."""
    truth = pose((5, 0, 0), (300, -200, 500))
    assert error_mm(align(fixed(), moved(truth, box(centre=(300, -200, 500))), "rigid"), truth) < 1


@pytest.mark.parametrize("kind, same_grid", [("rigid", False), ("affine", True)])
def test_headers_that_are_right_stay_right(kind, same_grid):
    """The same head, also on another grid.

    Interpolation may shift the optimum of mutual information by a fraction of a voxel.
    """
    grid = (
        box() if same_grid else box((2, 2.4, 3), (80, 66, 55), centre=(6, -4, 3), turn=(10, 0, 5))
    )
    assert error_mm(align(fixed(), moved(Affine(), grid), kind), Affine()) < 0.4


def test_the_headers_are_always_among_what_is_tried():
    """A right header is kept, although the other first poses are poor and the climbs are short."""
    o = AffineOptions(turns_deg=(45.0,), scales=(1.2,), tried=2, iterations=3)
    assert error_mm(align(fixed(), moved(Affine(), box()), "affine", o), Affine()) < 0.4


def test_kind_none_is_the_identity():
    layer = moved(pose((25, 0, 0)), box())
    assert (align(fixed(), layer, "none").matrix == np.eye(4)).all()


def test_twice_the_same_bytes():
    layer = moved(pose((8, -5, 3), (4, 0, -7), (1.05, 1, 0.95)), box())
    o = AffineOptions(medium=8, fine=6, iterations=5)  # quick: the test needs no accuracy
    first = align(fixed(), layer, "affine", o).matrix.tobytes()
    np.random.seed(1)  # noqa: NPY002 the global state, on purpose: it has no effect
    assert align(Layer(fixed().data.copy(), box()), layer, "affine", o).matrix.tobytes() == first


def test_masks_restrict_what_counts():
    """A bright plate lies on different sides of the two heads; masks over the heads exclude it."""
    truth = pose((0, 0, 12), (6, -8, 0))
    target = moved(truth, box())
    f_data, m_data = fixed().data.copy(), target.data.copy()
    f_data[:14, 10:60], m_data[:, 10:60, :12] = 1.0, 1.0
    near_fixed = np.linalg.norm(points(box()) / [44, 72, 50], axis=-1) < 1
    near_moving = np.linalg.norm(truth.inverse(points(box())) / [44, 72, 50], axis=-1) < 1
    f = Layer(np.where(near_fixed, fixed().data, f_data), box(), near_fixed)
    m = Layer(np.where(near_moving, target.data, m_data), box(), near_moving)
    with_masks = error_mm(align(f, m, "rigid"), truth)
    assert with_masks < 1
    without = error_mm(align(Layer(f.data, f.grid), Layer(m.data, m.grid), "rigid"), truth)
    assert without > 10


def warned(fixed: Layer, moving: Layer, kind="affine") -> tuple[Affine, str]:
    sentences: list[str] = []
    found = align(fixed, moving, kind, QUICK, warn=sentences.append)
    return found, " | ".join(sentences)


QUICK = AffineOptions(samples=(6_000, 12_000, 12_000))


@pytest.mark.parametrize("angles", [(0, 0, 180), (90, 0, 180), (180, 0, 0)])
def test_turns_of_the_cube_are_found_and_told(angles):
    truth = pose(angles, (12, -9, 5))
    found, told = warned(fixed(), moved(truth, box()))
    assert error_mm(found, truth) < 1
    assert "against its header" in told


def test_headers_far_apart_are_told():
    truth = pose((5, 0, 0), (300, -200, 500))
    _, told = warned(fixed(), moved(truth, box(centre=(300, -200, 500))), "rigid")
    assert "share no place" in told


def test_a_good_pair_raises_no_doubt():
    truth = pose((5, 10, -8), (3, 2, -6), (1.05, 0.95, 1.05))
    found, told = warned(fixed(), moved(truth, box()))
    assert error_mm(found, truth) < 1 and told == ""


def test_a_mirror_image_is_told():
    layer = moved(pose((4, 2, 0), (3, 0, 5)), box())
    _, told = warned(fixed(), Layer(np.ascontiguousarray(layer.data[::-1]), layer.grid))
    assert "left and right may be swapped" in told


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_a_tenfold_size_is_found_and_told(factor):
    layer = moved(pose((6, -4, 8)), box())
    truth = Affine(np.diag([factor, factor, factor, 1])) @ pose((6, -4, 8))
    scaled = Grid(layer.grid.shape, np.diag([factor, factor, factor, 1]) @ layer.grid.affine)
    found, told = warned(fixed(), Layer(layer.data, scaled))
    assert error_mm(found, truth) < 2 * factor
    assert "-fold in size" in told


def test_a_slab_anywhere_along_a_long_body_is_found():
    """What lies beyond the slab has no say, wherever the header puts the slab."""
    truth = pose((3, 0, 4), (5, -4, 60))
    slab = moved(truth, box((2.5, 2.5, 2.5), (64, 64, 16), centre=(5, -4, 55)))
    found, _ = warned(fixed(), slab, "rigid")
    assert error_mm(found, truth) < 2


def test_images_that_show_nothing_alike_get_a_sound_pose():
    noise = np.random.default_rng(0).random((12, 12, 12)).astype(np.float32)
    search = AffineOptions(tried=2, kept=1, iterations=6)
    found = align(Layer(noise, box(shape=(12, 12, 12))), fixed(), "affine", search)
    stretch = np.linalg.svd(found.matrix[:3, :3])[1]
    assert np.linalg.det(found.matrix[:3, :3]) > 0 and 1 / 3 <= stretch.min() <= stretch.max() <= 3


BRIEF = AffineOptions(
    samples=(2_000, 2_000, 2_000), turns_deg=(0.0,), glanced=20, tried=1, kept=1, iterations=6
)


def collapsing(monkeypatch) -> None:
    """The climbs with all twelve numbers end in a plane, whatever limits them."""

    def collapsed(information, matrix, model, *others):
        score, found = climb(information, matrix, model, *others)
        return score, found @ np.diag([1, 1, 1e-4, 1]) if model is affine else found

    monkeypatch.setattr(module, "climb", collapsed)


def test_a_search_that_ends_beyond_the_bounds_keeps_the_sound_pose_before(monkeypatch):
    collapsing(monkeypatch)
    truth = pose((0, 0, 6), (12, -8, 4))
    found = align(fixed(), moved(truth, box()), "affine", BRIEF)
    assert error_mm(found, truth) < 5 < error_mm(Affine(), truth)


def test_no_sound_pose_is_an_error(monkeypatch):
    """The last climb collapses, and neither the pose before it nor the headers are sound."""
    collapsing(monkeypatch)
    monkeypatch.setattr(Bounds, "allow", lambda self, matrix: False)
    with pytest.raises(RegistrationError, match="no sound pose") as raised:
        align(fixed(), moved(pose(), box()), "affine", BRIEF)
    assert raised.value.exit_code == 6


def long_body(truth: Affine, low: float, length: float) -> Layer:
    """A part of a body that goes on beyond both faces of the third axis."""
    grid = box(shape=(48, 48, round(length / 2.5)), centre=(0, 0, low + length / 2))
    p = truth(points(grid).reshape(-1, 3)).reshape(*grid.shape, 3)
    inside = np.full(p.shape[:-1], 0.5)
    for spot, width, height in zip(SPOTS, WIDTHS, HEIGHTS, strict=True):
        away = p - spot
        away[..., 2] = (away[..., 2] + 60) % 120 - 60
        inside += height * np.exp(-(away**2).sum(-1) / (2 * width**2))
    body = sigmoid(np.linalg.norm(p[..., :2] / [38, 48], axis=-1), 38)
    return Layer((body * inside).astype(np.float32), grid)


def cut_search() -> tuple[_Search, np.ndarray]:
    """The search of two parts of one body, and the pose between them."""
    truth = pose(angles=(4, -3, 5), shift=(3, -2, 4))
    a, b = long_body(Affine(), -60, 110), long_body(truth.inverse, -70, 120)
    return _Search.of(a, b, "affine", AffineOptions()), truth.matrix


def test_a_cut_body_climbs_on_local_correlation_and_a_whole_one_does_not():
    search, truth = cut_search()
    assert search.local is not None
    nearby = truth @ search.frame.about(np.diag([1.03, 0.98, 1.0]), search.frame.centre + 3)
    better = search._locally(search.local, nearby, affine)
    assert search.frame.apart(better, truth) < 1.2 < 3 < search.frame.apart(nearby, truth)
    assert _Search.of(fixed(), fixed(), "affine", AffineOptions()).local is None


def test_a_climb_that_loses_what_the_images_say_of_each_other_is_not_kept():
    search, truth = cut_search()

    class Elsewhere:
        """A score that is largest 40 mm away."""

        def with_gradient(self, matrix):
            off = matrix[0, 3] - truth[0, 3] - 40
            gradient = np.zeros((3, 4))
            gradient[0, 3] = -2e-3 * off
            return -1e-3 * off**2, gradient

    assert search._locally(Elsewhere(), truth, affine) is truth
