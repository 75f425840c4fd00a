import contextlib

import pytest
import torch

from sacbnet.errors import InputError
from sacbnet.kernels.dispatch import plain_kernels
from sacbnet.losses import mse_loss, ncc_loss
from sacbnet.losses.similarity import _banded, _pooled


def naive_ncc_map(moved, fixed, window):
    """Squared local correlation by its definition: deviations from means of zero-padded boxes."""
    r = window // 2
    a, b = (torch.nn.functional.pad(t, (r,) * 6) for t in (moved, fixed))
    out = torch.empty_like(moved)
    i, j, k = moved.shape[2:]
    for s in range(moved.shape[0]):
        for x in range(i):
            for y in range(j):
                for z in range(k):
                    box = (s, 0, slice(x, x + window), slice(y, y + window), slice(z, z + window))
                    p, q = a[box] - a[box].mean(), b[box] - b[box].mean()
                    out[s, 0, x, y, z] = (p * q).sum() ** 2 / ((p * p).sum() * (q * q).sum() + 1e-5)
    return out


def pair(b=2, size=(6, 5, 7), dtype=torch.float64, grad=False):
    g = torch.Generator().manual_seed(1)
    return [torch.rand(b, 1, *size, generator=g, dtype=dtype, requires_grad=grad) for _ in range(2)]


@pytest.mark.parametrize(("window", "size"), [(3, (6, 5, 7)), (9, (6, 5, 7)), (5, (1, 8, 3))])
def test_ncc_equals_its_definition(window, size):
    moved, fixed = pair(size=size)
    expected = naive_ncc_map(moved, fixed, window)
    torch.testing.assert_close(ncc_loss(moved, fixed, window), -expected.mean())
    mask = torch.rand(2, 1, *size) > 0.5
    masked = [one[inside].mean() for one, inside in zip(expected, mask, strict=True)]
    torch.testing.assert_close(ncc_loss(moved, fixed, window, mask), -torch.stack(masked).mean())


def test_both_forms_of_the_box_agree():
    x = torch.rand(2, 1, 3, 12, 10)
    direct = torch.nn.functional.avg_pool3d(torch.nn.functional.pad(x, (4,) * 6), 9, stride=1)
    torch.testing.assert_close(_banded(x, 9), direct)
    torch.testing.assert_close(_pooled(x, 9), direct)


def test_ncc_gradients():
    moved, fixed = pair(b=1, size=(4, 3, 5), grad=True)
    mask = torch.rand(1, 1, 4, 3, 5) > 0.3
    assert torch.autograd.gradcheck(lambda m, f: ncc_loss(m, f, 3), (moved, fixed))
    assert torch.autograd.gradcheck(lambda m, f: ncc_loss(m, f, 5, mask), (moved, fixed))


def test_no_gradient_is_computed_under_no_grad(monkeypatch):
    def slope(*_):
        raise AssertionError("computed")

    monkeypatch.setattr("sacbnet.losses.similarity._slope", slope)
    moved, fixed = pair(grad=True)
    with torch.no_grad():
        assert not ncc_loss(moved, fixed).requires_grad
    ncc_loss(moved.detach(), fixed.detach())


def test_ncc_is_invariant_to_gain_and_offset():
    moved, _ = pair(size=(14, 14, 14))
    assert float(ncc_loss(moved, moved)) == pytest.approx(-1, abs=1e-4)
    inside = torch.zeros_like(moved, dtype=torch.bool)
    inside[..., 4:-4, 4:-4, 4:-4] = True
    assert float(ncc_loss(3 * moved + 2, moved, mask=inside)) == pytest.approx(-1, abs=1e-4)


@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "plain"])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_ncc_of_flat_regions_stays_bounded(scale, plain):
    flat, other = (torch.full((1, 1, 20, 20, 20), x * scale) for x in (0.7, 0.313))
    noisy = torch.rand(1, 1, 20, 20, 20) * scale
    for fixed in (flat, other, noisy):
        moved = flat.clone().requires_grad_()
        inside = torch.zeros(1, 1, 20, 20, 20)
        inside[..., 5:-5, 5:-5, 5:-5] = 1
        with plain_kernels() if plain else contextlib.nullcontext():
            loss = ncc_loss(moved, fixed, mask=inside)
            loss.backward()
        assert -1 <= loss.item() <= 0
        assert torch.isfinite(moved.grad).all()


def test_ncc_is_single_precision_under_autocast():
    moved, fixed = pair(size=(10, 10, 10), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ncc_loss(moved, fixed)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, ncc_loss(moved, fixed))


def test_ncc_refuses_what_makes_no_sense():
    moved, fixed = pair()
    with pytest.raises(InputError, match="empty"):
        ncc_loss(moved, fixed, mask=torch.zeros_like(moved))
    with pytest.raises(InputError, match="empty for a sample"):
        ncc_loss(moved, fixed, mask=torch.tensor([1.0, 0.0]).view(2, 1, 1, 1, 1).expand_as(moved))
    with pytest.raises(InputError, match="odd"):
        ncc_loss(moved, fixed, window=4)
    with pytest.raises(InputError, match="one shape"):
        ncc_loss(moved, fixed[..., 1:])
    with pytest.raises(InputError, match="mask"):
        ncc_loss(moved, fixed, mask=torch.ones(2, 1, 2, 2, 2))


def test_mse_is_the_mean_of_squares():
    moved, fixed = pair()
    assert float(mse_loss(moved, moved)) == 0
    assert float(mse_loss(moved + 0.5, moved)) == pytest.approx(0.25)
    torch.testing.assert_close(mse_loss(moved, fixed), ((moved - fixed) ** 2).mean())
    assert torch.autograd.gradcheck(mse_loss, pair(b=2, size=(2, 3, 2), grad=True))


def test_mse_is_single_precision_or_better():
    moved, fixed = pair(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mse_loss(moved, fixed), ((moved - fixed) ** 2).mean())
    assert mse_loss(moved.bfloat16(), fixed.bfloat16()).dtype == torch.float32
    assert mse_loss(moved.double(), fixed).dtype == torch.float64
    with pytest.raises(InputError, match="one shape"):
        mse_loss(moved, fixed[:1])
