"""The compiled matching against its plain form, which test_matching.py of ops checks by loops."""

from __future__ import annotations

import pytest
import torch

from sacbnet.kernels.cpu import native
from sacbnet.kernels.cpu.matching import match
from sacbnet.ops.matching import match as dispatched
from sacbnet.ops.matching import match_plain

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiled kernels")


@pytest.fixture(autouse=True)
def restore_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def pair(shape, dtype=torch.float32, scale=0.5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return tuple((torch.randn(shape, generator=g) * scale).to(dtype) for _ in range(2))


def everything(function, moving, fixed, dtype=None):
    """Offsets and both gradients, for a gradient that is the same whatever the precision."""
    moving, fixed = (x.detach().to(dtype or x.dtype).requires_grad_(True) for x in (moving, fixed))
    out = function(moving, fixed)
    out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype))
    return out.detach(), moving.grad, fixed.grad


def assert_close(found, expected, relative):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        error, scale = (a.double() - b.double()).abs().max(), b.double().abs().max()
        assert error <= relative * max(float(scale), 1e-2)


SHAPES = [
    *[(1, 1, 1, 1, 1), (1, 3, 4, 5, 6), (2, 5, 2, 3, 17), (3, 8, 3, 2, 8)],
    *[(1, 16, 9, 4, 33), (1, 20, 5, 6, 7), (1, 32, 1, 6, 15), (2, 64, 3, 3, 16)],
]


WINDOWS = pytest.mark.parametrize("window", [3, 5])


def within(window):
    """The compiled form and the plain one."""
    return (lambda m, f: match(m, f, window)), (lambda m, f: match_plain(m, f, window))


@WINDOWS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_equals_the_plain_form(shape, scale, window):
    moving, fixed = pair(shape, scale=scale)
    ours, plain = within(window)
    assert_close(
        everything(ours, moving, fixed),
        everything(plain, moving, fixed, torch.float64),
        1e-5 * max(scale, 1),
    )


@WINDOWS
def test_any_layout(window):
    match, match_plain = within(window)
    moving, fixed = pair((2, 8, 6, 5, 12))
    moving, fixed = (
        moving.permute(0, 1, 4, 3, 2)[..., ::2, :, :],
        fixed.permute(0, 1, 4, 3, 2)[..., ::2, :, :],
    )
    expected = everything(match_plain, moving, fixed, torch.float64)
    assert_close(everything(match, moving, fixed), expected, 1e-5)
    last = [x.contiguous(memory_format=torch.channels_last_3d) for x in (moving, fixed)]
    assert_close(everything(match, *last), expected, 1e-5)


@pytest.mark.parametrize(
    "types", [(torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.float32)]
)
@WINDOWS
def test_bfloat16_is_summed_in_single(types, window):
    match, match_plain = within(window)
    moving, fixed = (x.to(t) for x, t in zip(pair((1, 20, 4, 5, 11)), types, strict=True))
    out, *gradients = everything(match, moving, fixed)
    expected, *expected_gradients = everything(match_plain, moving, fixed, torch.float64)
    assert out.dtype == torch.float32 and [g.dtype for g in gradients] == list(types)
    assert_close([out], [expected], 1e-5)
    assert_close(gradients, expected_gradients, 2**-8)


@WINDOWS
def test_threads_change_no_bit(window):
    match, _ = within(window)
    moving, fixed = pair((2, 16, 21, 5, 9))
    found = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found.append(everything(match, moving, fixed))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("which", [0, 1])
@WINDOWS
def test_one_gradient_alone(which, window):
    match, _ = within(window)
    inputs = list(pair((1, 8, 7, 4, 10)))
    both = everything(match, *inputs)[1 + which]
    inputs[which].requires_grad_(True)
    out = match(*inputs)
    out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(1)))
    assert inputs[1 - which].grad is None and torch.equal(inputs[which].grad, both)


@WINDOWS
def test_large_scores_do_not_overflow_and_nan_is_not_hidden(window):
    r = window // 2
    moving, fixed = (x * 1e4 for x in pair((1, 8, 5, 6, 9)))
    out = match(moving, fixed, window)
    assert torch.isfinite(out).all() and out.abs().max() <= r
    moving[0, 0, 2, 2, 4] = float("nan")
    hit = match(moving, fixed, window).isnan()[0, 0]
    assert hit[2 - r : 3 + r, 2 - r : 3 + r, 4 - r : 5 + r].all() and hit.sum() == window**3


@WINDOWS
def test_dispatch(window):
    moving, fixed = pair((1, 8, 4, 5, 6))
    assert torch.equal(dispatched(moving, fixed, window), match(moving, fixed, window))
    with native.plain_kernels():
        assert torch.equal(dispatched(moving, fixed, window), match_plain(moving, fixed, window))
    assert dispatched(moving.double(), fixed.double()).dtype == torch.float64
    with pytest.raises(RuntimeError):
        dispatched(moving[:, :5], fixed)
