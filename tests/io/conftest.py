"""Grids as files meet them, and a volume to put on them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from sacbnet.spatial.grid import Grid

SHAPE = (9, 10, 11)


def _affine(directions, spacing, origin) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(directions) * spacing
    affine[:3, 3] = origin
    return affine


def _grids() -> dict[str, Grid]:
    turn = Rotation.from_euler("xyz", [20, -15, 35], degrees=True).as_matrix()
    shear = np.array([[1, 0.2, 0], [0, 1, 0.1], [0, 0, 1]])
    shear /= np.linalg.norm(shear, axis=0)
    affines = {
        "identity": np.eye(4),
        "las": _affine(np.diag([-1, 1, 1]), (1, 1, 1), (90, -126, -72)),
        "lps": _affine(np.diag([-1, -1, 1]), (0.7, 1.1, 3), (12.5, 40.25, -7)),
        "permuted": _affine(np.eye(3)[:, [2, 0, 1]], (1, 2, 3), (-10, 20, 30)),
        "oblique": _affine(turn, (0.8, 1.25, 2.5), (-33.3, 41.7, 5.1)),
        "oblique-flipped": _affine(
            turn @ np.diag([-1, 1, 1]), (0.8, 1.25, 2.5), (133.3, -41.7, 905.1)
        ),
        "half-turn": _affine(
            Rotation.from_euler("z", 179.99, degrees=True).as_matrix(), (1, 1, 2), (80, 90, -50)
        ),
        "sheared": _affine(turn @ shear, (1, 1.5, 2), (3, 4, 5)),
    }
    return {name: Grid(SHAPE, affine) for name, affine in affines.items()}


GRIDS = _grids()


def pytest_generate_tests(metafunc) -> None:
    """Arguments `grid` and `orthogonal_grid` run over the table."""
    for argument, names in (
        ("grid", list(GRIDS)),
        ("orthogonal_grid", [n for n in GRIDS if n != "sheared"]),
    ):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, [GRIDS[n] for n in names], ids=names)


@pytest.fixture
def grids() -> dict[str, Grid]:
    return GRIDS


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.fixture
def itk_world():
    """What SimpleITK reads of a file: 4x4 to mm RAS."""

    def read(source) -> np.ndarray:
        image = source if isinstance(source, sitk.Image) else sitk.ReadImage(str(source))
        affine = np.eye(4)
        affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        affine[:2] *= -1
        return affine

    return read
