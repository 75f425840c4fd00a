"""Sampling of tensors against SciPy and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from sacbnet.spatial.warp import compose, identity, sample, up, warp

# scipy's "constant" drops to 0 at the last voxel's centre; its "grid-constant" fades within one
# voxel
SCIPY = {"zeros": "grid-constant", "border": "nearest"}


def scipy_sample(
    image: torch.Tensor, coordinates: torch.Tensor, padding: str, order: int = 1
) -> np.ndarray:
    return np.stack(
        [
            np.stack([map_coordinates(c, x, order=order, mode=SCIPY[padding]) for c in b])
            for b, x in zip(image.double().numpy(), coordinates.double().numpy(), strict=True)
        ]
    )


def some(
    *shape: int, dtype=torch.float32, seed: int = 0, low: float = 0, high: float = 1
) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=g, dtype=torch.float64) * (high - low) + low).to(dtype)


def some_coordinates(batch, size, shape, beyond=2.5, dtype=torch.float32) -> torch.Tensor:
    unit = some(batch, 3, *shape, dtype=torch.float64, seed=1)
    last = torch.tensor(size, dtype=torch.float64).reshape(1, 3, 1, 1, 1) - 1
    return (unit * (last + 2 * beyond) - beyond).to(dtype)


def test_identity_is_the_index():
    at = identity((2, 3, 4))
    assert at.shape == (1, 3, 2, 3, 4)
    assert at[0, :, 1, 2, 3].tolist() == [1, 2, 3]
    image = some(2, 3, 4, 5, 6)
    torch.testing.assert_close(
        sample(image, identity((4, 5, 6)).expand(2, -1, -1, -1, -1)), image, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(
    "batch, channels, size, shape", [(2, 3, (5, 6, 7), (3, 4, 5)), (1, 2, (9, 4, 2), (20, 3, 2))]
)
def test_linear_equals_scipy(padding, dtype, tolerance, batch, channels, size, shape):
    image, at = (
        some(batch, channels, *size, dtype=dtype),
        some_coordinates(batch, size, shape, dtype=dtype),
    )
    found = sample(image, at, padding=padding)
    assert found.shape == (batch, channels, *shape) and found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), scipy_sample(image, at, padding), atol=tolerance)


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_nearest_equals_scipy(padding):
    image, at = some(1, 2, 5, 6, 7), some_coordinates(1, (5, 6, 7), (9, 4, 5))
    found = sample(image, at, "nearest", padding)
    np.testing.assert_allclose(found.numpy(), scipy_sample(image, at, padding, order=0), atol=1e-6)


@pytest.mark.parametrize("size", [(1, 5, 6), (5, 1, 6), (5, 6, 1), (1, 1, 1)])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_an_axis_of_one_voxel(size, padding):
    image, at = some(1, 1, *size), some_coordinates(1, size, (4, 3, 5), beyond=1.5)
    np.testing.assert_allclose(
        sample(image, at, padding=padding).numpy(), scipy_sample(image, at, padding), atol=1e-5
    )


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [7, 16, 23])
@pytest.mark.parametrize(
    "mode, padding", [("linear", "zeros"), ("linear", "border"), ("nearest", "border")]
)
def test_threads_change_no_bit(threads, count, rows, mode, padding):
    """One image is cut along i into a batch for several threads; the bytes stay the same."""
    image, at = some(1, 3, 8, 9, 10), some_coordinates(1, (8, 9, 10), (rows, 4, 5))
    torch.set_num_threads(1)
    plain = sample(image, at, mode, padding)
    torch.set_num_threads(count)
    assert torch.equal(sample(image, at, mode, padding), plain)


@pytest.mark.parametrize("count", [1, 3])
def test_threads_change_no_gradient_of_the_coordinates(threads, count):
    image, at = some(1, 2, 6, 6, 6), some_coordinates(1, (6, 6, 6), (13, 3, 4))
    torch.set_num_threads(count)
    at.requires_grad_(True)
    sample(image, at).square().sum().backward()
    torch.set_num_threads(1)
    one = at.detach().clone().requires_grad_(True)
    sample(image, one).square().sum().backward()
    assert at.grad is not None and one.grad is not None and torch.equal(at.grad, one.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_images_are_sampled_in_single(dtype):
    image, at = (
        some(1, 2, 4, 5, 200).to(dtype),
        some_coordinates(1, (4, 5, 200), (6, 5, 20), beyond=0),
    )
    found = sample(image, at)
    assert found.dtype == dtype
    assert torch.equal(found, sample(image.float(), at).to(dtype))  # rounded once, at the end


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_displacements_do_not_blur_the_coordinates(dtype):
    """Half precision holds a displacement of 0.3 but no coordinate of 199.3, so sums are single."""
    image, u = (
        some(1, 1, 4, 5, 200).to(dtype),
        some(1, 3, 4, 5, 200, low=-2, high=2, seed=3).to(dtype),
    )
    found, expected = warp(image, u), warp(image.float(), u.float())
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=torch.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_coordinates_are_normalised_in_single(dtype):
    image, at = (
        some(1, 1, 4, 5, 200).to(dtype),
        some_coordinates(1, (4, 5, 200), (6, 5, 20), beyond=0).to(dtype),
    )
    found, expected = sample(image, at), sample(image.float(), at.float())
    torch.testing.assert_close(found.float(), expected, atol=torch.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_gradients(padding):
    image = some(2, 2, 3, 4, 3, dtype=torch.float64).requires_grad_(True)
    # well off the lattice, where linear interpolation has a kink
    at = identity((2, 3, 2), dtype=torch.float64) + some(
        2, 3, 2, 3, 2, dtype=torch.float64, low=0.1, high=0.9
    )
    assert torch.autograd.gradcheck(
        lambda i, x: sample(i, x, padding=padding), (image, at.requires_grad_(True))
    )


def test_gradients_across_precisions():
    image = some(1, 1, 4, 5, 6).half().requires_grad_(True)
    at = some_coordinates(1, (4, 5, 6), (3, 3, 3), beyond=0).requires_grad_(True)
    sample(image, at).float().sum().backward()
    assert image.grad is not None and at.grad is not None
    assert image.grad.dtype == torch.float16 and at.grad.dtype == torch.float32
    # each sample's weights add up to 1
    assert float(image.grad.float().sum()) == pytest.approx(27, rel=1e-2)


def test_warp_by_whole_voxels_is_a_shift():
    image = some(1, 1, 6, 7, 8)
    u = torch.zeros(1, 3, 6, 7, 8)
    u[:, 0], u[:, 2] = 2, -1
    moved = warp(image, u)
    torch.testing.assert_close(moved[..., :4, :, 1:], image[..., 2:, :, :-1], atol=1e-5, rtol=0)
    assert (
        float(moved[..., 4:, :, :].abs().max()) < 1e-5 and float(moved[..., :1].abs().max()) < 1e-5
    )


# float32 runs the compiled forms, float64 the plain ones
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compose_is_one_map_after_the_other(dtype):
    outer, inner = (some(1, 3, 7, 8, 9, dtype=dtype, low=-1, high=1, seed=n) for n in (0, 4))
    found = compose(outer, inner, padding="border")
    at = identity((7, 8, 9), dtype=dtype) + inner
    expected = scipy_sample(outer, at, "border") + inner.double().numpy()
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)
    shift = torch.ones(1, 3, 7, 8, 9, dtype=dtype)
    torch.testing.assert_close(compose(shift, 2 * shift, padding="border"), 3 * shift)
    torch.testing.assert_close(compose(outer, torch.zeros_like(outer)), outer, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_up_keeps_corners_and_lines_and_counts_in_fine_voxels(dtype):
    shape = (3, 4, 5)
    there = identity(shape, dtype=dtype)  # linear: so is the result
    found = up(there)
    assert found.shape == (1, 3, 6, 8, 10) and found.dtype == dtype
    fine = identity((6, 8, 10), dtype=dtype)
    for axis, n in enumerate(shape):
        expected = 2 * fine[:, axis] * (n - 1) / (2 * n - 1)
        torch.testing.assert_close(found[:, axis], expected, atol=1e-5, rtol=0)


def test_compose_of_two_warps_moves_an_image_as_they_do_in_turn():
    """moved twice = moved by the composition, exactly where the image is linear."""
    at = identity((9, 9, 9))
    image = (at * torch.tensor([1.0, 2, 3]).reshape(1, 3, 1, 1, 1)).sum(dim=1, keepdim=True)
    first, second = (
        some(1, 3, 9, 9, 9, low=-0.5, high=0.5),
        some(1, 3, 9, 9, 9, low=-0.5, high=0.5, seed=8),
    )
    twice = warp(warp(image, first, padding="border"), second, padding="border")
    once = warp(image, compose(first, second, padding="border"), padding="border")
    inner = (slice(None), slice(None), *[slice(2, -2)] * 3)
    torch.testing.assert_close(twice[inner], once[inner], atol=1e-4, rtol=0)
