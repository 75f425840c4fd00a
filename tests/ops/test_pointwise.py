import pytest
import torch
import torch.nn.functional as F

from sacbnet.kernels.dispatch import plain_kernels
from sacbnet.ops.neighbourhood import neighbourhood_mean
from sacbnet.ops.pointwise import concatenate, leaky_add, pool2

SHAPES = [(1, 8, 4, 6, 2), (2, 3, 2, 4, 6), (3, 20, 6, 2, 4), (2, 16, 8, 10, 12)]


def rand(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def both(function, *inputs):
    """Output and gradients by the form that is picked, and by the plain one."""
    results = []
    for plain in (False, True):
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        if plain:
            with plain_kernels():
                out = function(*leaves)
        else:
            out = function(*leaves)
        results.append((out, *torch.autograd.grad(out, leaves, rand(*out.shape).to(out.dtype))))
    return results


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_pool2(shape, dtype):
    fast, plain = both(pool2, rand(*shape, dtype=dtype))
    for a, e in zip(fast, plain, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a, e)
    torch.testing.assert_close(
        fast[0].float(), F.avg_pool3d(rand(*shape, dtype=dtype).float(), 2), rtol=0.01, atol=0.01
    )


def test_pool2_drops_what_is_left_over():
    x = rand(1, 8, 5, 4, 7)
    assert torch.equal(pool2(x), F.avg_pool3d(x, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 3, 1, 5)])
def test_leaky_add(shape, dtype):
    y, x = rand(*shape, dtype=dtype), rand(*shape[:4], shape[4], dtype=dtype).flip(2)
    fast, plain = both(lambda y, x: leaky_add(y, x, 0.1), y, x)
    for a, e in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, e, rtol=0.02 if dtype == torch.bfloat16 else 1e-6, atol=0.02)


@pytest.mark.parametrize("dim", [0, 1])
def test_concatenate(dim):
    volumes = [
        rand(2, 8, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d),
        rand(2, 8, 4, 5, 6),
    ]
    with torch.no_grad():
        assert torch.equal(concatenate(volumes, dim), torch.cat(volumes, dim))
    assert concatenate([v.requires_grad_() for v in volumes], dim).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 5, 1, 1, 1), (1, 8, 70, 3, 2)])
def test_neighbourhood_mean(shape, dtype):
    z = rand(*shape, dtype=dtype)
    expected = F.conv3d(
        z.float().reshape(-1, 1, *shape[2:]), torch.full((1, 1, 3, 3, 3), 1 / 27), padding=1
    ).view(shape)  # fmt: skip
    for layout in (z, z.contiguous(memory_format=torch.channels_last_3d)):
        mean = neighbourhood_mean(layout.requires_grad_())
        assert mean.dtype == torch.float32
        torch.testing.assert_close(mean.detach(), expected)
    with plain_kernels():
        torch.testing.assert_close(neighbourhood_mean(z).detach(), expected)
