"""One definition of trilinear interpolation: every form that samples linearly agrees with it."""

import numpy as np
import pytest
import torch

from sacbnet.kernels.cpu import native
from sacbnet.kernels.dispatch import plain_kernels
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine
from sacbnet.spatial.trilinear import CORNERS, interpolate, interpolate_with_slopes
from sacbnet.spatial.warp import sample


@pytest.fixture
def image():
    return torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def points(image):
    """Points (3, n) inside the image."""
    at = torch.rand(3, 200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return at * (torch.tensor(image.shape)[:, None] - 1)


def defined(image, points):
    low = points.floor()
    corners = [image[tuple(low.long() + torch.tensor(c)[:, None])] for c in CORNERS]
    return torch.stack(corners).view(2, 2, 2, -1), points - low


def test_the_value_is_the_polynomial_that_meets_the_corners():
    corners = torch.randn(2, 2, 2, 1, generator=torch.Generator().manual_seed(2))
    for i, j, k in CORNERS:
        at = torch.tensor([[float(i)], [float(j)], [float(k)]])
        for value in (interpolate(corners, at), interpolate_with_slopes(corners, at)[0]):
            torch.testing.assert_close(value, corners[i, j, k])
    # i + 10 j + 100 k + i j k has no other form that is linear along each axis
    i, j, k = torch.meshgrid(*[torch.arange(2.0)] * 3, indexing="ij")
    corners = (i + 10 * j + 100 * k + i * j * k)[..., None]
    at = torch.tensor([[0.25], [0.5], [0.75]])
    assert float(interpolate(corners, at)) == 0.25 + 5 + 75 + 0.25 * 0.5 * 0.75


def test_slopes_are_derivatives(image, points):
    corners, fraction = defined(image, points)
    fraction.requires_grad_()
    expected = interpolate(corners, fraction)
    (by_point,) = torch.autograd.grad(expected.sum(), fraction)
    values, slopes = interpolate_with_slopes(corners, fraction)
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(torch.stack(slopes), by_point)


def test_numpy_and_torch_give_the_same_bits(image, points):
    corners, fraction = defined(image, points)
    for form in (interpolate, lambda *x: interpolate_with_slopes(*x)[0]):
        assert np.array_equal(form(corners.numpy(), fraction.numpy()), form(corners, fraction))


def test_sample_agrees(image, points):
    expected = interpolate(*defined(image, points))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        at = points.to(dtype).view(1, 3, -1, 1, 1)
        found = sample(image.to(dtype)[None, None], at).view(-1)  # float32: compiled
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.skipif(native.library() is None, reason="no compiled kernels, so one form only")
def test_resampling_agrees(image):
    source = Grid(tuple(image.shape), np.eye(4))
    affine = np.diag([0.37, 0.41, 0.43, 1.0])
    affine[:3, 3] = 0.2
    target = Grid((8, 9, 10), affine)
    points = torch.from_numpy(target.world(np.indices(target.shape).reshape(3, -1).T).T)
    expected = interpolate(*defined(image, points)).view(target.shape).numpy()
    compiled = resample(image.numpy(), source, target, Affine())
    with plain_kernels():
        plain = resample(image.numpy(), source, target, Affine())
    assert np.abs(compiled - expected).max() < 1e-5
    assert np.abs(plain - expected).max() < 1e-5
