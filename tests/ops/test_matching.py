import pytest
import torch
import torch.nn.functional as F

from sacbnet.ops.matching import match, match_plain


def naive(moving, fixed):
    b, _, i, j, k = fixed.shape
    padded = F.pad(moving, (1,) * 6)
    out = fixed.new_zeros(b, 3, i, j, k)
    offsets = torch.tensor([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]).to(fixed)
    for s in range(b):
        for x in range(i):
            for y in range(j):
                for z in range(k):
                    window = padded[s, :, x : x + 3, y : y + 3, z : z + 3].flatten(1)
                    p = torch.softmax(fixed[s, :, x, y, z] @ window, 0)
                    out[s, :, x, y, z] = p @ offsets
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # the compiled form, and the plain one
@pytest.mark.parametrize("size", [(4, 3, 5), (1, 1, 1), (1, 6, 2)])
def test_equals_explicit_loops(size, dtype):
    moving, fixed = torch.randn(2, 2, 3, *size, dtype=dtype)
    torch.testing.assert_close(
        match(moving, fixed), naive(moving, fixed), atol=1e-5 if dtype == torch.float32 else 1e-7, rtol=1e-5
    )


def test_plain_form_in_single_precision():
    moving, fixed = torch.randn(2, 1, 3, 4, 3, 5)
    torch.testing.assert_close(match_plain(moving, fixed), match(moving, fixed), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_finds_a_shift_of_one_voxel(axis):
    moving = torch.randn(1, 40, 6, 7, 8)
    fixed = torch.roll(moving, -1, dims=2 + axis) * 5  # fixed(p) = moving(p + 1): the displacement is +1
    found = match(moving, fixed)[0, :, 1:-1, 1:-1, 1:-1]
    expected = torch.zeros(3)
    expected[axis] = 1
    assert (found - expected[:, None, None, None]).abs().median() < 1e-3


def test_padded_candidates_compete():
    # all features equal: inside the expectation is 0; at an edge zeros beyond score 0 against 1 each, and pull inwards
    u = match(torch.ones(1, 1, 4, 4, 4), torch.ones(1, 1, 4, 4, 4))
    e = torch.e
    assert u[0, 0, 0, 1, 1] == pytest.approx((9 * e - 9) / (18 * e + 9), abs=1e-6)
    assert u[0, :, 1, 1, 1].abs().max() < 1e-6


def test_half_precision_does_not_overflow():
    moving = torch.full((1, 64, 3, 3, 3), 100.0, dtype=torch.float16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        u = match(moving, moving)
    assert u.dtype == torch.float32
    assert torch.isfinite(u).all()


def test_gradients():
    moving, fixed = (torch.randn(1, 2, 3, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(match, (moving, fixed))
