"""Box means, local correlation and mean square gradient in C++ agree with their plain forms."""

from __future__ import annotations

import pytest
import torch

from sacbnet.kernels.cpu import boxes, native
from sacbnet.losses import box_mean, gradient_loss, ncc_loss

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiled kernels")
SHAPES = [(2, 13, 17, 20), (1, 9, 3, 5), (1, 1, 8, 30), (3, 1, 1, 1)]


def volumes(shape: tuple[int, ...], channels: int = 1, seed: int = 0) -> torch.Tensor:
    b, *size = shape
    return torch.rand(b, channels, *size, generator=torch.Generator().manual_seed(seed))


def both(f):
    """What f() gives by the kernels, and without them."""
    fast = f()
    with native.plain_kernels():
        return fast, f()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [1, 3, 9, 21])
def test_box_means(shape, window):
    x = volumes(shape, 2) - 0.5
    assert boxes.takes(x)
    for y in (x, x.transpose(2, 4).contiguous().transpose(2, 4)):  # whatever lies how in memory
        fast, plain = both(lambda y=y: box_mean(y, window))
        torch.testing.assert_close(fast, plain, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [3, 9])
@pytest.mark.parametrize("masked", [False, True])
def test_local_correlation_and_both_gradients(shape, window, masked):
    mask = volumes(shape, seed=2) if masked else None

    def run():
        x, y = (volumes(shape, seed=n).requires_grad_() for n in (0, 1))
        loss = ncc_loss(x, y, window, mask, epsilon=0.01)
        loss.backward()
        return loss.detach(), x.grad, y.grad

    for fast, plain in zip(*both(run), strict=True):
        torch.testing.assert_close(
            fast, plain, atol=1e-5 * float(plain.abs().max()) + 1e-12, rtol=1e-4
        )


def test_flat_regions_do_not_score():
    """Rounding gives flat regions a little variance: neither kernel may count it as similarity."""
    flat = torch.full((1, 1, 20, 20, 20), 0.7)
    inner = torch.zeros_like(flat)
    inner[..., 5:-5, 5:-5, 5:-5] = 1
    fast, plain = both(
        lambda: float(ncc_loss(flat, flat + 1e-6 * volumes((1, 20, 20, 20)), 9, inner))
    )
    assert abs(fast) < 1e-3 and abs(plain) < 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_mean_square_gradient(shape):
    def run():
        u = (10 * volumes(shape, 3)).requires_grad_()
        loss = gradient_loss(u)
        loss.backward()
        return loss.detach(), u.grad

    for fast, plain in zip(*both(run), strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6)


def test_threads_do_not_change_a_bit():
    x, y, u = (
        volumes((1, 23, 20, 21)),
        volumes((1, 23, 20, 21), seed=1),
        volumes((1, 23, 20, 21), 3),
    )
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(
                (*boxes.correlation(x, y, 9, None, 1e-9, True), *boxes.square_gradient(u, True))
            )
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_other_types_are_left_to_the_plain_forms():
    x = volumes((1, 8, 8, 8))
    assert (
        not boxes.takes(x.double())
        and not boxes.takes(x.bfloat16())
        and not boxes.takes(x[..., :0])
    )
