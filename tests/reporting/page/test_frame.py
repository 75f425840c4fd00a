"""Pictures stand upright and to scale, however a file stores its voxels."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from sacbnet.reporting.page.frame import PLANES, Frame, picture
from sacbnet.spatial.grid import Grid

GRID = Grid((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))  # axes towards R, A, S
DATA = np.arange(120).reshape(4, 5, 6)
AXIAL, CORONAL, SAGITTAL = PLANES


def stored(order, flips) -> tuple[np.ndarray, Grid]:
    """The same voxels in another order, with the header that says so."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        matrix[old, new] = -1 if flip else 1
        matrix[old, 3] = GRID.shape[old] - 1 if flip else 0
    where = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    data = DATA.transpose(order)[where]
    return data, Grid(data.shape, GRID.affine @ matrix)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
def test_the_order_of_the_voxels_in_the_file_changes_no_picture(order, flips) -> None:
    data, grid = stored(order, flips)
    frame = Frame.of(grid)
    at = (1, 2, 3)
    for plane in PLANES:
        expected = Frame.of(GRID).shown(plane, at, DATA)
        np.testing.assert_array_equal(frame.shown(plane, at, data), expected)
        assert frame.size_mm(plane) == pytest.approx(Frame.of(GRID).size_mm(plane))
    assert data[frame.stored(at)] == DATA[at]
    np.testing.assert_allclose(grid.world(frame.stored(at)), GRID.world(at))


@pytest.mark.parametrize(
    ("plane", "corner"),
    [
        (AXIAL, (3, 4, 3)),  # the top left pixel lies at the right and anterior
        (CORONAL, (3, 2, 5)),  # right, superior
        (SAGITTAL, (1, 4, 5)),  # anterior, superior
    ],
    ids=["axial", "coronal", "sagittal"],
)
def test_the_sides_are_those_of_the_radiological_convention(plane, corner) -> None:
    shown = Frame.of(GRID).shown(plane, (1, 2, 3), DATA)
    assert shown[0, 0] == DATA[corner]
    left, _, top, _ = plane.sides
    assert left == "RAS"[plane.within[0]] and top == "RAS"[plane.within[1]]


def test_the_size_follows_the_spacing() -> None:
    frame = Frame.of(GRID)
    assert [frame.size_mm(p) for p in PLANES] == [(4, 10), (4, 18), (10, 18)]
    assert [frame.shown(p, (0, 0, 0), DATA).shape for p in PLANES] == [(5, 4), (6, 4), (6, 5)]


def test_a_part_is_cut_from_pictures_and_slices_alike() -> None:
    part = Frame.of(GRID).around((1, 1, 2), (3, 4, 5), margin=0.0)
    assert (part.low, part.high) == ((1, 1, 2), (3, 4, 5))
    for plane in PLANES:
        at = (2, 3, 4)
        grid = part.slice(plane, at)
        world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
        values = DATA[tuple(np.moveaxis(GRID.voxels(world).round().astype(int), -1, 0))]
        np.testing.assert_array_equal(picture(plane, values), part.shown(plane, at, DATA))
        assert part.size_mm(plane)[0] == grid.shape[plane.within[0]] * GRID.spacing[plane.within[0]]


def test_the_margin_is_the_same_on_all_sides_in_mm_and_ends_at_the_grid() -> None:
    frame = Frame.of(Grid((100, 100, 100), np.diag([1.0, 2.0, 4.0, 1.0])))
    part = frame.around((40, 40, 40), (60, 50, 45), margin=0.5)  # 20 mm × 20 mm × 20 mm
    assert (part.low, part.high) == ((30, 35, 37), (70, 55, 48))
    assert frame.around((0, 0, 0), (100, 100, 100)).high == (100, 100, 100)


def test_the_tilt() -> None:
    angle = np.deg2rad(17)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert Frame.of(Grid((4, 4, 4), affine)).tilt == pytest.approx(17)
    assert Frame.of(GRID).tilt == 0
