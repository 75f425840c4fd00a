"""The compiled mixed convolution against its plain form.

tests/ops/test_mixed_conv.py compares the plain form with loops.
"""

import pytest
import torch

from sacbnet.kernels.cpu import native
from sacbnet.kernels.dispatch import plain_kernels
from sacbnet.ops.mixed_conv import mixed_conv, mixed_conv_plain

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiled kernels")

# b, channels in and out, clusters, size
CASES = [
    (1, 1, 1, 1, (1, 1, 1)),
    (2, 3, 4, 3, (1, 6, 2)),
    (2, 16, 16, 7, (9, 10, 11)),
    (1, 8, 5, 2, (5, 4, 7)),
    (3, 5, 3, 31, (6, 5, 4)),
    (2, 32, 64, 7, (4, 5, 6)),
    (1, 20, 12, 4, (2, 1, 3)),
    (1, 8, 8, 3, (1, 70, 8)),  # rows enough for several strips
    (1, 64, 40, 7, (6, 20, 20)),
]
NAMES = ("y", "z", "membership", "taps", "kernel", "bias")


def case(b, c, c_out, n, size):
    g = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.randn(*shape, generator=g)

    return (
        rand(b, c, *size),
        rand(b, n, *size).softmax(1),
        rand(b, n, 27),
        rand(c_out, c, 27),
        rand(b, n, c_out),
    )


def everything(function, inputs, dtype=None):
    """The result and all gradients, for a gradient that is the same whatever the precision."""
    inputs = [x.detach().to(dtype or x.dtype).requires_grad_() for x in inputs]
    out = function(*inputs)
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return out.detach(), *torch.autograd.grad(out, inputs, g.to(out.dtype))


def assert_near(found, expected, tolerance=1e-5):
    """Greatest difference of each, relative to the greatest value."""
    for name, a, e in zip(NAMES, found, expected, strict=True):
        assert a.shape == e.shape
        difference = (a.double() - e.double()).abs().max() / e.double().abs().max()
        assert difference <= tolerance, (name, float(difference))


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_equals_the_plain_form(arguments):
    inputs = case(*arguments)
    assert_near(everything(mixed_conv, inputs), everything(mixed_conv_plain, inputs, torch.float64))


def test_any_layout():
    z, membership, *others = case(2, 8, 8, 3, (6, 10, 12))
    z, membership = z[:, :, :, ::2], membership[:, :, :, ::2]
    expected = everything(mixed_conv_plain, [z, membership, *others], torch.float64)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        inputs = [
            z.contiguous(memory_format=layout),
            membership.contiguous(memory_format=layout),
            *others,
        ]
        assert_near(everything(mixed_conv, inputs), expected)
    assert_near(everything(mixed_conv, [z, membership, *others]), expected)


def test_bfloat16_is_storage_only():
    inputs = case(2, 8, 16, 7, (7, 8, 9))
    inputs = (inputs[0].bfloat16(), *inputs[1:])
    exact = everything(mixed_conv_plain, inputs, torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = everything(mixed_conv, inputs)
    assert found[0].dtype == found[1].dtype == torch.bfloat16
    assert all(x.dtype == torch.float32 for x in found[2:])
    assert_near(found, exact, 0.01)


def test_thread_count_changes_no_bit():
    inputs = case(1, 8, 12, 5, (20, 40, 12))
    results = []
    threads = torch.get_num_threads()
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            results.append(everything(mixed_conv, inputs))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, e) for a, e in zip(results[0], other, strict=True))


def test_nothing_like_an_unfolded_window_is_kept_for_backward():
    inputs = [t.requires_grad_() for t in case(1, 8, 8, 3, (16, 16, 16))]
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (
            kept.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) and t
        ),
        lambda t: t,
    ):
        mixed_conv(*inputs)
    parameters = sum(t.nbytes for t in inputs[2:])
    assert sum(kept.values()) <= inputs[0].nbytes + inputs[1].nbytes + parameters


def test_dispatch():
    inputs = case(1, 8, 8, 3, (4, 5, 6))
    with plain_kernels():
        assert torch.equal(mixed_conv(*inputs), mixed_conv_plain(*inputs))
    with pytest.raises(RuntimeError):
        mixed_conv(inputs[0], inputs[1][..., :3], *inputs[2:])
