import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sacbnet.errors import InputError
from sacbnet.ops.matching import match, match_plain


def naive(moving, fixed, window=3):
    """Voxel by voxel: the expected offset (b, 3, ...)."""
    b, _, i, j, k = fixed.shape
    r = window // 2
    padded = F.pad(moving, (r,) * 6)
    out = fixed.new_zeros(b, 3, i, j, k)
    axis = torch.arange(-r, r + 1)
    offsets = torch.cartesian_prod(axis, axis, axis).to(fixed)
    for s in range(b):
        for x in range(i):
            for y in range(j):
                for z in range(k):
                    near = padded[s, :, x : x + window, y : y + window, z : z + window].flatten(1)
                    p = torch.softmax(fixed[s, :, x, y, z] @ near, 0)
                    out[s, :, x, y, z] = p @ offsets
    return out


# float32 runs the compiled form, float64 the plain one
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(4, 3, 5), (1, 1, 1), (1, 6, 2)])
@pytest.mark.parametrize("window", [3, 5])
def test_equals_explicit_loops(size, dtype, window):
    moving, fixed = torch.randn(2, 2, 3, *size, dtype=dtype)
    offset = naive(moving, fixed, window)
    atol = 1e-5 if dtype == torch.float32 else 1e-7
    torch.testing.assert_close(match(moving, fixed, window), offset, atol=atol, rtol=1e-5)


@pytest.mark.parametrize("window", [3, 5])
def test_plain_form_in_single_precision(window):
    moving, fixed = torch.randn(2, 1, 3, 4, 3, 5)
    torch.testing.assert_close(
        match_plain(moving, fixed, window), match(moving, fixed, window), atol=1e-5, rtol=1e-5
    )


def test_three_voxels_unless_said_otherwise():
    moving, fixed = torch.randn(2, 1, 3, 4, 3, 5)
    assert torch.equal(match(moving, fixed), match(moving, fixed, 3))
    for window in (1, 4, 7):
        with pytest.raises(InputError, match=f"window of {window}"):
            match(moving, fixed, window)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_finds_a_shift_of_one_voxel(axis):
    moving = torch.randn(1, 40, 6, 7, 8)
    # fixed(p) = moving(p + 1): the displacement is +1
    fixed = torch.roll(moving, -1, dims=2 + axis) * 5
    found = match(moving, fixed)[0, :, 1:-1, 1:-1, 1:-1]
    expected = torch.zeros(3)
    expected[axis] = 1
    assert (found - expected[:, None, None, None]).abs().median() < 1e-3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_larger_window_finds_a_shift_of_two_voxels(axis):
    moving = torch.randn(1, 40, 6, 7, 8)
    fixed = torch.roll(moving, 2, dims=2 + axis) * 5  # fixed(p) = moving(p - 2)
    expected = torch.zeros(3)
    expected[axis] = -2
    found = match(moving, fixed, 5)[0, :, 2:-2, 2:-2, 2:-2]
    assert (found - expected[:, None, None, None]).abs().median() < 1e-3


def test_padded_candidates_compete():
    # All features are equal. Inside, the expectation is 0. At an edge each zero beyond scores 0
    # against 1, so the expectation points inwards.
    u = match(torch.ones(1, 1, 4, 4, 4), torch.ones(1, 1, 4, 4, 4))
    e = torch.e
    assert u[0, 0, 0, 1, 1] == pytest.approx((9 * e - 9) / (18 * e + 9), abs=1e-6)
    assert u[0, :, 1, 1, 1].abs().max() < 1e-6


@pytest.mark.parametrize("window", [3, 5])
def test_half_precision_does_not_overflow(window):
    moving = torch.full((1, 64, 3, 3, 3), 100.0, dtype=torch.float16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        u = match(moving, moving, window)
    assert u.dtype == torch.float32
    assert torch.isfinite(u).all()


@pytest.mark.parametrize("window", [3, 5])
def test_gradients(window):
    moving, fixed = (
        torch.randn(1, 2, 3, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    assert torch.autograd.gradcheck(lambda m, f: match(m, f, window), (moving, fixed))


@pytest.mark.parametrize("function", [match, match_plain])
def test_scores_of_a_large_window_are_not_kept_for_backward(function):
    moving, fixed = (torch.randn(1, 4, 16, 16, 16, requires_grad=True) for _ in range(2))
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (
            kept.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) and t
        ),
        lambda t: t,
    ):
        function(moving, fixed, 5)
    assert sum(kept.values()) <= 4 * moving.nbytes  # 125 scores would be 31


def test_scores_of_a_large_window_are_never_held():
    """The largest tensor made on the way forward and back is a padded feature map."""
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.extend(
                t.untyped_storage().nbytes()
                for t in tree_leaves(out)
                if isinstance(t, torch.Tensor)
            )
            return out

    moving, fixed = (torch.randn(1, 4, 12, 12, 12, requires_grad=True) for _ in range(2))
    with Watch():
        match_plain(moving, fixed, 5).sum().backward()
    assert max(sizes) <= 4 * 4 * 16**3
