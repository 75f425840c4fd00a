"""The compiled convolutions against their definitions, in double precision."""

from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from sacbnet.kernels.cpu import native
from sacbnet.kernels.dispatch import plain_kernels
from sacbnet.ops import conv as ops
from sacbnet.ops.adaptive_conv import adaptive_conv, adaptive_conv_plain
from sacbnet.ops.conv import conv3d

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiled kernels")

conv_blocks = partial(ops.conv_blocks, eps=1e-5, slope=0.1)
conv_blocks_plain = partial(ops.conv_blocks_plain, eps=1e-5, slope=0.1)

# b, channels of input and blocks, size
CASES = [
    (2, (1, 4, 8, 8), (9, 10, 11)),
    (1, (16, 16), (5, 7, 6)),
    (3, (8, 5, 3), (6, 5, 4)),
    (2, (32, 64), (4, 5, 6)),
    (1, (16, 8, 8), (3, 9, 33)),
    (1, (20, 12), (2, 1, 3)),
    (1, (8, 8), (1, 70, 2)),  # rows enough for several strips
    (1, (64, 40), (11, 20, 20)),
]


def rand(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))).to(dtype)


def assert_near(actual, expected, tolerance=1e-5):
    """Greatest difference, relative to the greatest value."""
    assert actual.shape == expected.shape
    difference = (actual.double() - expected.double()).abs().max() / expected.double().abs().max()
    assert difference <= tolerance, float(difference)


def gradients(function, inputs, g):
    inputs = [x.detach().requires_grad_() for x in inputs]
    out = function(*inputs)
    return out, torch.autograd.grad(out, inputs, g.to(out.dtype))


def blocks_of(*tensors):
    x, *parameters = tensors
    return x, list(zip(parameters[::2], parameters[1::2], strict=True))


def block_inputs(b, channels, size):
    parameters = [
        p for n, (i, o) in enumerate(pairwise(channels))
        for p in (rand(o, i, 3, 3, 3, seed=n), rand(o, seed=n))
    ]  # fmt: skip
    return [rand(b, channels[0], *size), *parameters]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_blocks(case):
    b, channels, size = case
    inputs = block_inputs(b, channels, size)
    g = rand(b, channels[-1], *size, seed=9)
    out, fast = gradients(lambda *t: conv_blocks(*blocks_of(*t)), inputs, g)
    expected, plain = gradients(
        lambda *t: conv_blocks_plain(*blocks_of(*t)), [t.double() for t in inputs], g
    )
    assert_near(out, expected)
    for name, a, e in zip(["x", *["weight", "bias"] * len(channels)], fast, plain, strict=False):
        if name == "bias":
            assert (a == 0).all() and e.abs().max() < 1e-10  # the norm takes it away
        else:
            assert_near(a, e)
    with torch.no_grad():
        # inference takes another path through memory
        assert_near(conv_blocks(*blocks_of(*inputs)), expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv(case):
    b, (c, *_, c_out), size = case
    inputs = [rand(b, c, *size), rand(c_out, c, 3, 3, 3), rand(c_out)]
    g = rand(b, c_out, *size, seed=9)
    out, fast = gradients(conv3d, inputs, g)
    expected, plain = gradients(
        lambda x, w, v: F.conv3d(x, w, v, padding=1), [t.double() for t in inputs], g
    )
    for a, e in zip((out, *fast), (expected, *plain), strict=True):
        assert_near(a, e)


@pytest.mark.parametrize("clusters", [1, 7, 31, 500])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_adaptive_conv(case, clusters):
    b, (c, *_, c_out), size = case
    labels = torch.randint(clusters, (b, *size), generator=torch.Generator().manual_seed(1))
    inputs = [
        rand(b, c, *size),
        rand(b, clusters, 27),
        rand(c_out, c, 27),
        rand(b, clusters, c_out),
    ]
    g = rand(b, c_out, *size, seed=9)
    if clusters == 500 and size != (2, 1, 3):
        pytest.skip("more clusters than voxels is tried on the small volume")
    if clusters == 31 and c == 64:
        pytest.skip(
            "in double precision this alone takes seconds; the other volumes test many clusters"
        )
    out, fast = gradients(lambda z, *p: adaptive_conv(z, labels, *p), inputs, g)
    expected, plain = gradients(
        lambda z, *p: adaptive_conv_plain(z, labels, *p), [t.double() for t in inputs], g
    )
    for a, e in zip((out, *fast), (expected, *plain), strict=True):
        assert_near(a, e)


@pytest.mark.parametrize("numbers", [{"eps": 0.5, "slope": 0.1}, {"eps": 1e-5, "slope": 0.7}])
def test_the_numbers_of_norm_and_relu_are_those_given(numbers):
    inputs, g = block_inputs(2, (8, 8, 16), (6, 7, 8)), rand(2, 16, 6, 7, 8, seed=9)
    out, fast = gradients(lambda *t: ops.conv_blocks(*blocks_of(*t), **numbers), inputs, g)
    expected, plain = gradients(
        lambda *t: ops.conv_blocks_plain(*blocks_of(*t), **numbers),
        [t.double() for t in inputs],
        g,
    )
    assert_near(out, expected)
    for n in (0, 1, 3):  # the input and the weights
        assert_near(fast[n], plain[n])
    usual = conv_blocks(*blocks_of(*inputs))
    assert (out - usual).abs().max() > 0.01
    with torch.no_grad():
        assert_near(ops.conv_blocks(*blocks_of(*inputs), **numbers), expected)


def test_input_that_is_not_contiguous():
    x = rand(2, 8, 6, 12, 10)[:, :, :, ::2]
    weight, bias = rand(8, 8, 3, 3, 3), rand(8)
    expected = conv_blocks_plain(x.double(), [(weight.double(), bias.double())])
    for same in (x, x.contiguous(), x.contiguous(memory_format=torch.channels_last_3d)):
        assert_near(conv_blocks(same, [(weight, bias)]), expected)


def test_bfloat16_is_storage_only():
    b, channels, size = 2, (8, 16, 16), (7, 8, 9)
    inputs = block_inputs(b, channels, size)
    g = rand(b, 16, *size, seed=9)
    _, exact = gradients(lambda *t: conv_blocks(*blocks_of(*t)), inputs, g)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, fast = gradients(lambda *t: conv_blocks(*blocks_of(*t)), inputs, g)
    assert out.dtype == torch.bfloat16
    assert_near(out, conv_blocks_plain(*blocks_of(*inputs)), 0.02)
    for a, e in zip(fast[:2], exact[:2], strict=True):
        assert a.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(a.flatten(), e.flatten(), dim=0) > 0.999


def test_thread_count_changes_no_bit():
    inputs = block_inputs(1, (8, 8, 16), (20, 40, 12))
    labels = torch.randint(5, (1, 20, 40, 12), generator=torch.Generator().manual_seed(1))
    adaptive = [rand(1, 8, 20, 40, 12), rand(1, 5, 27), rand(8, 8, 27), rand(1, 5, 8)]
    g, g8 = rand(1, 16, 20, 40, 12), rand(1, 8, 20, 40, 12)
    results = []
    threads = torch.get_num_threads()
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            out, grads = gradients(lambda *t: conv_blocks(*blocks_of(*t)), inputs, g)
            out2, grads2 = gradients(lambda z, *p: adaptive_conv(z, labels, *p), adaptive, g8)
            results.append((out, *grads, out2, *grads2))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, e) for a, e in zip(results[0], other, strict=True))


def test_one_volume_per_block_is_kept_for_backward():
    inputs = [t.requires_grad_() for t in block_inputs(1, (8, 8, 8, 8), (24, 24, 24))]
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (
            kept.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) and t
        ),
        lambda t: t,
    ):
        conv_blocks(*blocks_of(*inputs))
    # the input and three blocks
    assert sum(kept.values()) < 4.2 * inputs[0].untyped_storage().nbytes()


def test_plain_kernels_can_be_asked_for():
    x, parameters = blocks_of(*block_inputs(1, (8, 8), (5, 6, 7)))
    with plain_kernels():
        assert torch.equal(conv_blocks(x, parameters), conv_blocks_plain(x, parameters))
        assert not native.usable(x)
    assert native.usable(x)


def test_double_precision_is_plain():
    x, parameters = blocks_of(*(t.double() for t in block_inputs(1, (8, 8), (5, 6, 7))))
    assert torch.equal(conv_blocks(x, parameters), conv_blocks_plain(x, parameters))
