"""Images between which nothing moved are told from those between which a little did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import shift
from scipy.spatial.transform import Rotation

from sacbnet import register
from sacbnet.imaging.image import Image
from sacbnet.registration.sameness import aligned_already
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine

AT = np.indices((36, 38, 34)).transpose(1, 2, 3, 0) - 17.0
BODY = np.clip(13 - np.linalg.norm(AT, axis=-1), 0, 3) * (
    20 + 9 * np.sin(AT[..., 0] / 2) * np.cos(AT[..., 1] / 3)
)
RNG = np.random.default_rng(0)


def scan(noise: float = 1.0, moved: float = 0.0) -> Image:
    data = shift(BODY, (moved, 0, 0), order=3) + RNG.normal(0, noise, BODY.shape)
    return Image(data.astype(np.float32), Grid(BODY.shape, np.eye(4)))


def test_an_image_itself_rescaled_with_other_noise_or_in_another_box():
    one = scan()
    assert aligned_already(one, one)
    assert aligned_already(one, replace(one, data=one.data * 3 + 7))
    assert aligned_already(one, replace(one, data=np.rint(one.data * 20)))
    for noise in (0.1, 0.5, 1.0):
        assert aligned_already(scan(noise), scan(noise))
    cut = Image(one.data[2:, :-3].copy(), one.grid.cropped((2, 0, 0), (36, 35, 34)))
    assert aligned_already(one, cut) and aligned_already(cut, one)


@pytest.mark.parametrize(("moved", "noise"), [(0.2, 0.1), (0.5, 1.0), (2.0, 2.0)])
def test_a_small_motion_is_seen(moved, noise):
    assert not aligned_already(scan(noise), scan(noise, moved))


def test_other_lattices_and_other_bodies_are_left_to_the_search():
    one = scan()
    grid = Grid(one.grid.shape, np.diag([1.01, 1, 1, 1]))
    assert not aligned_already(one, replace(one, grid=grid))
    assert not aligned_already(one, replace(one, data=one.data[::-1].copy() ** 2 + AT[..., 0] ** 2))


def on(image: Image, spacing: float = 1.0, offset: float = 0.0, turn: float = 0.0) -> Image:
    """The image on another lattice about the same centre."""
    shape = tuple(round(n / spacing) for n in image.grid.shape)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (turn, turn, 0), degrees=True).as_matrix() * spacing
    affine[:3, 3] = image.grid.centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2) + offset
    grid = Grid(shape, affine)
    data = resample(image.data, image.grid, grid, Affine()).astype(np.float32)
    return Image(data, grid)


LATTICES = [{"offset": 0.5}, {"offset": 0.3, "turn": 20.0}, {"spacing": 1.3}, {"spacing": 0.8}]


@pytest.mark.parametrize("lattice", LATTICES)
def test_a_copy_on_another_lattice_is_the_image(lattice):
    one = scan(0.2)
    copy = on(one, **lattice)
    assert aligned_already(one, copy) and aligned_already(copy, one)
    assert aligned_already(one, replace(copy, data=copy.data * 3 + 7))


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("moved", [0.1, 0.5, 2.0])
def test_a_small_motion_on_another_lattice_is_seen(lattice, moved):
    assert not aligned_already(scan(0.2), on(scan(0.2, moved), **lattice))


def test_a_copy_on_another_lattice_gives_the_identity():
    one = scan(0.2)
    found = register(fixed=one, moving=on(one, offset=0.5), weights="none")
    assert (found.transform.displacement_mm == 0).all()


def test_nothing_moved_is_the_identity():
    quiet = scan(0.3), scan(0.3)
    found = register(fixed=quiet[0], moving=quiet[1], weights="none")
    assert (found.transform.displacement_mm == 0).all() and not found.report.refinement
    assert any("identity" in note for note in found.report.notes)
