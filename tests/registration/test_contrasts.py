"""Several contrasts of one subject: what only the second one shows is registered, too."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from sacbnet.errors import GridError, InputError
from sacbnet.registration.registrar import Registrar

SIZE = 40
AT = np.indices((SIZE,) * 3).astype(float)
MIDDLE = (SIZE - 1) / 2
INSIDE = np.linalg.norm(AT - MIDDLE, axis=0) < 16


def bend() -> np.ndarray:
    """Displacement in voxels, (3, i, j, k): up to 2 voxels along the first axis."""
    u = np.zeros((3, SIZE, SIZE, SIZE))
    u[0] = 2 * np.sin(AT[1] / 7) * np.sin(AT[2] / 8)
    return u


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((SIZE,) * 3)
    return 100 + 900 * gaussian_filter(noise, 2)


def bent(image: np.ndarray) -> np.ndarray:
    return map_coordinates(image, AT + bend(), order=1)


def shown(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (image * INSIDE).astype(np.float32), np.eye(4)


# the first contrast shows the left half, the second one the right half
LEFT = texture(1) * (AT[2] < SIZE / 2) + 100 * (AT[2] >= SIZE / 2)
RIGHT = texture(2) * (AT[2] >= SIZE / 2) + 100 * (AT[2] < SIZE / 2)
FIXED, MOVING = (shown(bent(LEFT)), shown(bent(RIGHT))), (shown(LEFT), shown(RIGHT))


def error(found) -> float:
    """Mean error in the right half, voxels."""
    right = INSIDE & (AT[2] > SIZE / 2 + 3)
    points = AT.transpose(1, 2, 3, 0)[right]
    u = found.transform(points) - points
    return float(np.abs(u[:, 0] - bend()[0][right]).mean())


@pytest.fixture(scope="module")
def registrar() -> Registrar:
    return Registrar(weights="none", affine="none", accept=True)


def test_the_second_contrast_is_registered(registrar):
    one = registrar.register(fixed=FIXED[0], moving=MOVING[0])
    both = registrar.register(
        fixed=FIXED[0], moving=MOVING[0], fixed_contrasts=[FIXED[1]], moving_contrasts=[MOVING[1]]
    )
    assert error(both) < 0.75 * error(one)
    assert {"fixed_contrast_1", "moving_contrast_1"} <= set(both.report.companions)
    assert "fixed_contrast_1" not in one.report.companions


def test_the_unit_of_the_header_does_not_matter(registrar):
    def found(mm: float):
        affine = np.diag([mm, mm, mm, 1])
        f, m = ([(x, affine) for x, _ in of] for of in (FIXED, MOVING))
        given = {"fixed_contrasts": f[1:], "moving_contrasts": m[1:]}
        return registrar.register(fixed=f[0], moving=m[0], **given).transform.displacement_mm / mm

    assert np.abs(found(0.01) - found(1.0)).max() < 1e-3


def test_contrasts_come_in_pairs(registrar):
    with pytest.raises(InputError, match="1 further contrasts of the fixed and 0 of the moving"):
        registrar.register(fixed=FIXED[0], moving=MOVING[0], fixed_contrasts=[FIXED[1]])


def test_a_contrast_lies_on_the_grid_of_its_image(registrar):
    elsewhere = (MOVING[1][0], np.diag([1.0, 1, 2, 1]))
    with pytest.raises(GridError, match=r"moving contrast .* lies on another grid"):
        registrar.register(
            fixed=FIXED[0],
            moving=MOVING[0],
            fixed_contrasts=[FIXED[1]],
            moving_contrasts=[elsewhere],
        )


def test_without_refinement_a_warning_says_that_contrasts_have_no_say():
    found = Registrar(weights="none", affine="rigid", refine=0, accept=True).register(
        fixed=FIXED[0], moving=MOVING[0], fixed_contrasts=[FIXED[1]], moving_contrasts=[MOVING[1]]
    )
    assert any("further contrasts have no say" in w for w in found.report.warnings)
