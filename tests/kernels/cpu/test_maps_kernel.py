"""Maps of points in C++ agree with their plain forms for all grids, maps, types and threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sacbnet.kernels.cpu import native
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.invert import invert
from sacbnet.spatial.resample import Interpolation, resample
from sacbnet.spatial.transforms import Affine, DisplacementField, PointMap, chain, steps_of

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiled kernels")
TURN = np.array([[0.9, -0.3, 0.1, 4], [0.25, 0.95, -0.2, -3], [-0.1, 0.2, 1.05, 5], [0, 0, 0, 1]])


def grid(shape: tuple[int, int, int] = (14, 15, 17)) -> Grid:
    """Oblique and left-handed, about the world's origin."""
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0] * [1.5, -2, 2.5]
    return Grid(shape, affine @ Affine.translation((1 - np.array(shape)) / 2).matrix)


def field(shape: tuple[int, int, int] = (14, 15, 17), size: float = 1.0) -> DisplacementField:
    u = size * np.random.default_rng(1).normal(size=(*shape, 3))
    return DisplacementField(grid(shape), u.astype(np.float32))


MAPS = {
    "affine": Affine(TURN),
    "field": field(),
    "flat field": field((5, 1, 9)),
    "chain": chain(Affine(TURN), chain(field(), Affine.translation([1, 0, 2])), field((6, 7, 8))),
}
TARGET = Grid(
    (19, 18, 21), Affine.translation([-19, -18, -20]).matrix @ np.diag([1.9, 2.1, 2.0, 1.0])
)


@pytest.mark.parametrize("name", MAPS)
def test_displacements_written_down(name):
    fast = DisplacementField.from_map(MAPS[name], TARGET).displacement_mm
    with native.plain_kernels():
        plain = DisplacementField.from_map(MAPS[name], TARGET).displacement_mm
    assert np.abs(plain).max() > 1
    np.testing.assert_allclose(fast, plain, atol=1e-4)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("shape", [(14, 15, 17), (7, 1, 9)])
def test_images_resampled(name, shape):
    data, source = np.random.default_rng(2).normal(size=shape), grid(shape)
    fast = resample(data, source, TARGET, MAPS[name])
    with native.plain_kernels():
        plain = resample(data, source, TARGET, MAPS[name])
    assert (plain == 0).any() and (plain != 0).any()
    assert ((fast == 0) != (plain == 0)).sum() == 0
    np.testing.assert_allclose(fast, plain, atol=1e-4)


@pytest.mark.parametrize("dtype", [bool, "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i2"])
@pytest.mark.parametrize("way", ["nearest", "onehot"])
def test_labels_resampled(dtype, way: Interpolation):
    data = (
        np.random.default_rng(3).integers(0, 2 if dtype is bool else 5, (14, 15, 17)).astype(dtype)
    )
    if np.dtype(dtype).kind == "i":
        data -= data.dtype.type(2)  # the smallest of equals is then below 0
    fast = resample(data, grid(), TARGET, MAPS["chain"], way)
    with native.plain_kernels():
        plain = resample(data, grid(), TARGET, MAPS["chain"], way)
    assert fast.dtype == plain.dtype == data.dtype and len(np.unique(plain)) == len(np.unique(data))
    assert (fast != plain).mean() < 1e-3  # a tie that rounding decides


@pytest.mark.parametrize("size", [0.2, 0.8])
def test_inverses(size):
    """In places of the rougher field the fixed point does not settle, in some even Newton fails."""
    moving = chain(Affine(TURN), field(size=size))
    fast = invert(moving, grid(), TARGET, Affine(TURN))
    with native.plain_kernels():
        plain = invert(moving, grid(), TARGET, Affine(TURN))
    assert fast.residual_mean_mm == pytest.approx(plain.residual_mean_mm, rel=0.05, abs=1e-4)
    apart = np.linalg.norm(fast.field.displacement_mm - plain.field.displacement_mm, axis=-1)
    assert np.quantile(apart, 0.9) < 1e-3
    if size < 0.5:
        assert fast.residual_max_mm <= 0.01 and apart.max() < 0.03


def test_displacements_in_voxels():
    transform = field()
    fast = transform.displacement_vox()
    with native.plain_kernels():
        np.testing.assert_allclose(fast, transform.displacement_vox(), rtol=1e-6, atol=1e-6)


def test_the_number_of_threads_does_not_show():
    data = np.random.default_rng(4).normal(size=(14, 15, 17)).astype(np.float32)

    def made() -> list[np.ndarray]:
        inverse = invert(MAPS["chain"], grid(), TARGET, Affine(TURN))
        told = np.array([inverse.residual_mean_mm, inverse.residual_max_mm])
        return [inverse.field.displacement_mm, told, resample(data, grid(), TARGET, MAPS["chain"])]

    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(made())
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_maps_are_not_taken():
    def lifted(points: np.ndarray) -> np.ndarray:
        return points + 1

    unknown: PointMap = lifted
    assert steps_of(unknown) is None and steps_of(chain(Affine(), unknown)) is None
    assert len(steps_of(MAPS["chain"]) or ()) == 4
