"""Flows whose exponential is known, and the properties that every one has."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sacbnet.kernels.dispatch import plain_kernels
from sacbnet.spatial.exponential import exponential
from sacbnet.spatial.exponential import smooth as smoothed
from sacbnet.spatial.warp import compose, identity

# points of a cube move inwards everywhere, because in each row the diagonal outweighs the rest: no
# point meets an edge
INWARDS = torch.tensor(
    [[-0.9, 0.3, -0.2], [-0.35, -0.7, 0.1], [0.2, 0.15, -0.6]], dtype=torch.float64
)


def smooth(size: int, largest: float, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    low = torch.randn(1, 3, 4, 4, 4, generator=g, dtype=torch.float64)
    v = F.interpolate(low, (size,) * 3, mode="trilinear", align_corners=True)
    return F.avg_pool3d(F.pad(v * (largest / v.abs().max()), (2,) * 6, mode="replicate"), 5, 1)


def linear(matrix: torch.Tensor, size: int) -> torch.Tensor:
    """matrix · (p - centre): (1, 3, size, size, size)."""
    return torch.einsum(
        "ac,bcijk->baijk", matrix, identity((size,) * 3, dtype=torch.float64) - (size - 1) / 2
    )


# float32 runs the compiled composition, float64 the plain one
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_velocity_is_its_own_exponential(dtype):
    v = torch.tensor([1.5, -4, 20], dtype=dtype).reshape(1, 3, 1, 1, 1).expand(2, 3, 5, 6, 7)
    torch.testing.assert_close(exponential(v), v, atol=1e-4, rtol=1e-5)


def test_a_linear_velocity_gives_the_matrix_exponential():
    v, one = linear(INWARDS, 9), torch.eye(3, dtype=torch.float64)
    found = [exponential(v, steps) for steps in (7, 10)]
    # trilinear sampling is exact for a linear field: what is left is that of (1 + A/n)^n
    torch.testing.assert_close(
        found[0], linear(torch.matrix_power(one + INWARDS / 128, 128) - one, 9)
    )
    limit = linear(torch.linalg.matrix_exp(INWARDS) - one, 9)
    errors = [float((u - limit).abs().max()) for u in found]
    # of voxels that move by up to 3; of first order in 1/n
    assert errors[0] < 0.02 and errors[1] < errors[0] / 7
    assert limit.abs().max() > 2.5


def test_no_steps_are_the_velocity_itself():
    v = smooth(6, 2)
    assert torch.equal(exponential(v, 0), v)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_opposite_velocity_gives_the_inverse(dtype):
    v = smooth(24, 6).to(dtype)
    there, back = exponential(v), exponential(-v)
    inside = (..., *[slice(4, -4)] * 3)
    assert there[inside].abs().max() > 2.5
    for one, other in ((there, back), (back, there)):  # what interpolation between voxels leaves
        assert compose(one, other, padding="border")[inside].abs().max() < 0.12
    # the opposite displacement is no inverse
    assert compose(there, -there, padding="border")[inside].abs().max() > 1.2


def test_the_compiled_composition_agrees_with_its_gradient():
    v = smooth(8, 2).float()
    weight = torch.randn(v.shape, generator=torch.Generator().manual_seed(1))

    def run():
        leaf = v.clone().requires_grad_(True)
        u = exponential(leaf)
        (u * weight).sum().backward()
        return u.detach(), leaf.grad

    fast = run()
    with plain_kernels():
        plain = run()
    torch.testing.assert_close(fast, plain, atol=1e-3, rtol=1e-3)


def test_gradients():
    v = smooth(4, 1.3).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: exponential(v, 3), (v,))


def test_half_precision_is_widened():
    v = smooth(6, 2)
    u = exponential(v.bfloat16())
    assert u.dtype == torch.float32
    torch.testing.assert_close(u, exponential(v).float(), atol=0.05, rtol=0)


def test_smoothing_is_two_means_of_three_along_each_axis():
    """Weights 1 2 3 2 1 of nine, by axis; a constant velocity stays as it is, at the edges too."""
    impulse = torch.zeros(1, 1, 9, 9, 9)
    impulse[..., 4, 4, 4] = 9**3
    row = torch.tensor([0.0, 0, 1, 2, 3, 2, 1, 0, 0])
    expected = row[:, None, None] * row[:, None] * row
    torch.testing.assert_close(smoothed(impulse)[0, 0], expected)
    constant = torch.full((1, 3, 4, 5, 2), 1.5)
    torch.testing.assert_close(smoothed(constant), constant)
