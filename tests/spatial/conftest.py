"""Grids as scanners and converters make them, and the tools that the tests measure against."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

from sacbnet.spatial.grid import Grid

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _grid(shape, directions, spacing, origin) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(directions) * np.asarray(spacing)
    affine[:3, 3] = origin
    return Grid(shape, affine)


def _grids() -> dict[str, Grid]:
    turn = Rotation.from_euler("xyz", [20, -15, 35], degrees=True).as_matrix()
    shear = np.array([[1, 0.2, 0], [0, 1, 0.1], [0, 0, 1]])
    shear /= np.linalg.norm(shear, axis=0)
    shape = (9, 10, 11)
    return {
        "identity": _grid(shape, np.eye(3), (1, 1, 1), (0, 0, 0)),
        "flipped": _grid(shape, np.diag([-1, -1, 1]), (0.7, 1.1, 3), (12.5, 40.25, -7)),
        "permuted": _grid(shape, np.eye(3)[:, [2, 0, 1]], (1, 2, 3), (-10, 20, 30)),
        "oblique": _grid(shape, turn, (0.8, 1.25, 2.5), (-33.3, 41.7, 5.1)),
        "left-handed": _grid(
            shape, turn @ np.diag([-1, 1, 1]), (0.8, 1.25, 2.5), (133.3, -41.7, 905.1)
        ),
        "sheared": _grid(shape, turn @ shear, (1, 1.5, 2), (3, 4, 5)),
    }


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
def threads() -> Iterator[None]:
    """Lets a test change torch's number of threads, and puts it back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def itk_image():
    """(data (i, j, k) or (i, j, k, 3), grid in RAS) -> SimpleITK image in LPS, without src."""

    def make(data: np.ndarray, grid: Grid) -> sitk.Image:
        vector = data.ndim == 4
        image = sitk.GetImageFromArray(
            np.ascontiguousarray(np.swapaxes(data, 0, 2)), isVector=vector
        )
        lps = LPS @ grid.affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        return image

    return make


@pytest.fixture
def itk_affine():
    """4x4 in RAS -> SimpleITK's AffineTransform in LPS."""

    def make(matrix: np.ndarray) -> sitk.AffineTransform:
        lps = LPS @ matrix @ LPS
        return sitk.AffineTransform(lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist())

    return make
