"""The compiled warp and upsampling against grid_sample and interpolate in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sacbnet.kernels.cpu import native
from sacbnet.kernels.cpu import warp as compiled
from sacbnet.spatial.warp import compose, identity, sample, warp

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiled kernels")
LAST = torch.channels_last_3d


@pytest.fixture(autouse=True)
def restore_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def some(*shape, seed=0, scale=1.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def gradients(function, *inputs, dtype=None):
    """The result and each gradient, for a gradient that is the same whatever the precision."""
    inputs = [x.detach().to(dtype or x.dtype).requires_grad_(True) for x in inputs]
    out = function(*inputs)
    out.backward(some(*out.shape, seed=9).to(out.dtype))
    return out.detach(), *(x.grad for x in inputs)


def plain(function, *inputs):
    with native.plain_kernels():
        return gradients(function, *inputs, dtype=torch.float64)


def assert_close(found, expected, relative=1e-5):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert (a.double() - b).abs().max() <= relative * max(float(b.abs().max()), 1e-2)


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("channels", [1, 3, 5, 8, 16, 20, 64])
@pytest.mark.parametrize("batch, size", [(1, (5, 6, 7)), (2, (2, 3, 17)), (3, (4, 2, 8))])
def test_warp_equals_the_plain_form(padding, layout, channels, batch, size):
    image, u = (
        some(batch, channels, *size).contiguous(memory_format=layout),
        some(batch, 3, *size, seed=1, scale=2),
    )
    assert compiled.takes(image, u)
    found = gradients(lambda i, u: warp(i, u, padding=padding), image, u)
    assert_close(found, plain(lambda i, u: warp(i, u, padding=padding), image, u))
    assert found[0].is_contiguous(memory_format=layout) and found[1].is_contiguous(
        memory_format=layout
    )


@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("shape", [(3, 4, 5), (9, 2, 19)])
def test_coordinates_of_another_shape(channels, shape):
    image, at = some(2, channels, 6, 5, 7), some(2, 3, *shape, seed=1, scale=4) + 2
    for layout in (torch.contiguous_format, LAST):
        i = image.contiguous(memory_format=layout)
        assert_close(gradients(sample, i, at), plain(sample, i, at))


@pytest.mark.parametrize("channels", [3, 8])
def test_any_strides(channels):
    image = some(2, channels, 8, 7, 12).permute(0, 1, 4, 3, 2)[..., ::2, :, :]
    u = some(2, 3, 8, 7, 12, seed=1).permute(0, 1, 4, 3, 2)[..., ::2, :, :]
    assert_close(gradients(warp, image, u), plain(warp, image, u))


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_compose_adds_the_inner_one(padding):
    for layout in (torch.contiguous_format, LAST):
        outer, inner = (
            some(2, 3, 5, 6, 11, seed=s, scale=2).contiguous(memory_format=layout) for s in (1, 2)
        )
        found = gradients(lambda o, i: compose(o, i, padding), outer, inner)
        assert_close(found, plain(lambda o, i: compose(o, i, padding), outer, inner))


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("size", [(1, 5, 6), (5, 1, 6), (5, 6, 1), (1, 1, 1)])
def test_an_axis_of_one_voxel_is_left_to_the_plain_form(padding, size):
    image, u = some(1, 3, *size), some(1, 3, *size, seed=1)
    assert not compiled.takes(image, u)
    assert_close(
        gradients(lambda i, u: warp(i, u, padding=padding), image, u),
        plain(lambda i, u: warp(i, u, padding=padding), image, u),
    )


@pytest.mark.parametrize("channels", [1, 3, 5, 8])
@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 2.0**31, -(2.0**31)]
)
def test_what_is_not_finite_or_far_away_samples_as_zero(channels, bad):
    for layout in (torch.contiguous_format, LAST):
        image, u = (
            some(1, channels, 4, 5, 11).contiguous(memory_format=layout),
            some(1, 3, 4, 5, 11, seed=1),
        )
        expected = gradients(warp, image, u)[0].clone()
        for axis in range(3):
            u[0, axis, 1, axis, 2 * axis + 1] = bad
            expected[0, :, 1, axis, 2 * axis + 1] = 0
        out, of_image, of_u = gradients(warp, image, u)
        assert torch.equal(out, expected) and torch.isfinite(of_image).all()
        for axis in range(3):
            assert of_u[0, :, 1, axis, 2 * axis + 1].eq(0).all()
        beside = gradients(lambda i, u: warp(i, u, padding="border"), image, u)
        assert all(torch.isfinite(x).all() for x in beside)


@pytest.mark.parametrize("channels", [1, 3, 16, 20])
def test_bfloat16_is_widened(channels):
    for layout in (torch.contiguous_format, LAST):
        image = some(1, channels, 5, 6, 9).bfloat16().contiguous(memory_format=layout)
        u = some(1, 3, 5, 6, 9, seed=1)
        out, of_image, of_u = gradients(warp, image, u)
        assert out.dtype == of_image.dtype == torch.bfloat16 and of_u.dtype == torch.float32
        assert torch.equal(out, warp(image.float(), u).bfloat16())  # rounded once, at the end
        assert_close([out, of_image, of_u], plain(warp, image, u), 2**-7)


@pytest.mark.parametrize("channels", [1, 3, 8, 20])
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
def test_threads_change_no_bit(channels, layout):
    image = some(2, channels, 19, 5, 9).contiguous(memory_format=layout)
    u = some(2, 3, 19, 5, 9, seed=1, scale=4)
    found = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found.append(gradients(warp, image, u))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("which", [0, 1])
def test_one_gradient_alone(which):
    inputs = [some(1, 8, 6, 5, 9), some(1, 3, 6, 5, 9, seed=1)]
    both = gradients(warp, *inputs)[1 + which]
    inputs[which].requires_grad_(True)
    out = warp(*inputs)
    out.backward(some(*out.shape, seed=9))
    assert inputs[1 - which].grad is None and torch.equal(inputs[which].grad, both)


def test_at_rest_nothing_changes():
    image = some(1, 8, 5, 6, 9)
    assert torch.equal(warp(image, torch.zeros(1, 3, 5, 6, 9)), image)
    assert torch.equal(sample(image, identity((5, 6, 9))), image)


def test_what_the_kernel_does_not_take():
    image, u = some(1, 2, 4, 5, 6), some(1, 3, 4, 5, 6)
    assert not compiled.takes(image.double(), u) and not compiled.takes(image.half(), u)
    assert not compiled.takes(image.expand(2, -1, -1, -1, -1), u) and not compiled.takes(
        image[:0], u[:0]
    )
    with native.plain_kernels():
        assert not compiled.takes(image, u)


@pytest.mark.parametrize(
    "shape", [(1, 3, 4, 5, 6), (2, 3, 1, 1, 1), (1, 3, 2, 1, 9), (1, 1, 7, 3, 1), (1, 3, 9, 2, 20)]
)
def test_up_equals_interpolate(shape):
    def by_torch(u):
        return F.interpolate(2 * u, scale_factor=2, mode="trilinear", align_corners=True)

    u = some(*shape)
    expected = plain(by_torch, u)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(gradients(compiled.up, u))
        assert_close(found[-1], expected)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert_close(gradients(compiled.up, u.transpose(2, 4)), plain(by_torch, u.transpose(2, 4)))


@pytest.mark.parametrize("channels", [1, 8])
def test_slope_at_lattice_points_is_that_of_both_sides(channels) -> None:
    """Where all optimisation starts: one-sided slopes would push the whole image one way."""
    image = torch.rand(1, channels, 5, 6, 9, generator=torch.Generator().manual_seed(0))
    image = image.contiguous(memory_format=torch.channels_last_3d)
    u = torch.zeros(1, 3, 5, 6, 9, requires_grad=True)
    (slope,) = torch.autograd.grad(warp(image, u).sum(), u)
    total = torch.nn.functional.pad(image.sum(1), (1,) * 6)  # zeros beyond the edge
    for axis in range(3):
        ahead, behind = (torch.roll(total, n, axis + 1)[0, 1:-1, 1:-1, 1:-1] for n in (-1, 1))
        torch.testing.assert_close(slope[0, axis], (ahead - behind) / 2)
