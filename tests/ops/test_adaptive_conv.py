import torch
import torch.nn.functional as F

from sacbnet.ops.adaptive_conv import adaptive_conv


def naive(z, labels, taps, kernel, bias):
    """Voxel by voxel, tap by tap, as the equation is written."""
    b, _, i, j, k = z.shape
    padded = F.pad(z, (1,) * 6)
    out = z.new_zeros(b, kernel.shape[0], i, j, k)
    for s in range(b):
        for x in range(i):
            for y in range(j):
                for w in range(k):
                    n = labels[s, x, y, w]
                    value = bias[s, n].clone()
                    for t in range(27):
                        di, dj, dk = t // 9, t // 3 % 3, t % 3
                        value += taps[s, n, t] * (
                            kernel[:, :, t] @ padded[s, :, x + di, y + dj, w + dk]
                        )
                    out[s, :, x, y, w] = value
    return out


def case(b=2, c=3, c_out=4, n=3, size=(4, 2, 5), dtype=torch.float64):
    g = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype)

    labels = torch.randint(n, (b, *size), generator=g)
    return rand(b, c, *size), labels, rand(b, n, 27), rand(c_out, c, 27), rand(b, n, c_out)


def test_equals_the_equation():
    for arguments in (case(), case(b=1, size=(1, 1, 1)), case(b=3, c=1, c_out=1, n=1)):
        torch.testing.assert_close(adaptive_conv(*arguments), naive(*arguments))


def test_cluster_without_voxels():
    z, labels, taps, kernel, bias = case()
    labels = labels.clamp(max=1)
    torch.testing.assert_close(
        adaptive_conv(z, labels, taps, kernel, bias), naive(z, labels, taps, kernel, bias)
    )


def test_gradients():
    z, labels, taps, kernel, bias = case(b=2, c=2, c_out=2, size=(3, 2, 2))
    inputs = [t.requires_grad_() for t in (z, taps, kernel, bias)]
    assert torch.autograd.gradcheck(lambda z, a, w, b: adaptive_conv(z, labels, a, w, b), inputs)


def test_nothing_like_an_unfolded_window_is_kept_for_backward():
    z, labels, taps, kernel, bias = (
        t.requires_grad_() if t.is_floating_point() else t
        for t in case(b=1, c=8, c_out=8, n=3, size=(16, 16, 16))
    )
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (
            kept.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) and t
        ),
        lambda t: t,
    ):
        adaptive_conv(z, labels, taps, kernel, bias)
    assert sum(kept.values()) < 4 * z.untyped_storage().nbytes()
