import pytest
import torch
import torch.nn.functional as F

from sacbnet.ops.adaptive_conv import adaptive_conv
from sacbnet.ops.mixed_conv import mixed_conv, mixed_conv_plain

SIZES = [(4, 2, 5), (1, 1, 1), (1, 6, 2)]


def naive(z, membership, taps, kernel, bias):
    """Voxel by voxel, tap by tap, as the equation is written."""
    b, _, i, j, k = z.shape
    padded = F.pad(z, (1,) * 6)
    out = z.new_zeros(b, kernel.shape[0], i, j, k)
    for s in range(b):
        for x in range(i):
            for y in range(j):
                for w in range(k):
                    m = membership[s, :, x, y, w]
                    value = m @ bias[s]
                    for t in range(27):
                        di, dj, dk = t // 9, t // 3 % 3, t % 3
                        value = value + (m @ taps[s, :, t]) * (
                            kernel[:, :, t] @ padded[s, :, x + di, y + dj, w + dk]
                        )
                    out[s, :, x, y, w] = value
    return out


def case(b=2, c=3, c_out=4, n=3, size=(4, 2, 5), dtype=torch.float64):
    g = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype)

    return (
        rand(b, c, *size),
        rand(b, n, *size).softmax(1),
        rand(b, n, 27),
        rand(c_out, c, 27),
        rand(b, n, c_out),
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("b", "c", "c_out", "n"), [(2, 3, 4, 3), (1, 1, 1, 1)])
def test_equals_the_equation(b, c, c_out, n, size):
    arguments = case(b, c, c_out, n, size)
    torch.testing.assert_close(mixed_conv(*arguments), naive(*arguments))


def test_whole_shares_are_labels():
    z, membership, taps, kernel, bias = case()
    labels = membership.argmax(1)
    whole = F.one_hot(labels, 3).movedim(-1, 1).to(z)
    torch.testing.assert_close(
        mixed_conv(z, whole, taps, kernel, bias), adaptive_conv(z, labels, taps, kernel, bias)
    )


def test_gradients():
    inputs = [t.requires_grad_() for t in case(b=2, c=2, c_out=2, size=(3, 2, 2))]
    assert torch.autograd.gradcheck(mixed_conv, inputs)


def test_nothing_like_an_unfolded_window_is_kept_for_backward():
    arguments = [t.requires_grad_() for t in case(b=1, c=8, c_out=8, n=3, size=(16, 16, 16))]
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (
            kept.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) and t
        ),
        lambda t: t,
    ):
        mixed_conv_plain(*arguments)
    assert sum(kept.values()) < 6 * arguments[0].untyped_storage().nbytes()
