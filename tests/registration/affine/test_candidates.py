"""The first poses of the search."""

from __future__ import annotations

import numpy as np

from sacbnet.registration.affine.candidates import cube_turns, near_headers, turned
from sacbnet.registration.affine.lattice import Lattice
from sacbnet.registration.affine.models import Frame
from sacbnet.spatial.grid import Grid


def lattice(shape=(20, 20, 20), start=(0.0, 0, 0), cut_axis: int | None = None) -> Lattice:
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = start
    cut = np.zeros((2, 3), dtype=bool)
    if cut_axis is not None:
        cut[:, cut_axis] = True
    return Lattice(np.zeros(shape, dtype=np.float32), Grid(shape, affine), None, cut)


def poses(fixed: Lattice, moving: Lattice) -> list[np.ndarray]:
    frame = Frame(fixed.grid.centre, 30.0)
    return near_headers(frame, fixed, moving, moving.grid.centre, (0.0,), (1.0,))


def test_the_24_turns_of_the_cube():
    turns = np.array(cube_turns())
    assert len(np.unique(turns.reshape(24, 9), axis=0)) == 24
    np.testing.assert_array_equal(turns[0], np.eye(3))
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    np.testing.assert_array_equal(np.einsum("nij,nkj->nik", turns, turns), [np.eye(3)] * 24)


def test_a_cut_body_is_shifted_along_its_length_and_a_whole_one_is_not():
    whole, long = lattice(), lattice((20, 20, 60), (5.0, 0, 0), cut_axis=2)
    np.testing.assert_array_equal(poses(whole, long)[0], np.eye(4))
    assert len(poses(whole, whole)) < 4
    z = [float(p[2, 3]) for p in poses(whole, long)]
    # the short body lies anywhere in the long one, from end to end
    assert min(z) <= 0 and max(z) >= 160
    assert np.diff(np.unique(z)).max() < 0.2 * 80
    # either image may be the one that is cut
    assert len(poses(long, whole)) == len(poses(whole, long))


def test_turned_poses_turn_the_box_about_its_centre():
    fixed, moving = lattice(), lattice(start=(50.0, -20, 7))
    frame = Frame(fixed.grid.centre + 5, 30.0)
    found = turned(frame, fixed, moving, moving.grid.centre, (1.0,))
    boxes = [
        p
        for p in found
        if np.allclose(p[:3, :3] @ fixed.grid.centre + p[:3, 3], moving.grid.centre)
    ]
    assert len({p[:3, :3].tobytes() for p in boxes}) == 23
