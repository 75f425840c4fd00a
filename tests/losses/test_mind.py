"""MIND-SSC: its definition voxel by voxel, its invariances, gradients by differences."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from sacbnet.errors import InputError
from sacbnet.losses import mind_loss
from sacbnet.losses.mind import _Descriptors


def noise(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive(image: np.ndarray, radius: int, dilation: int) -> np.ndarray:
    """(12, i, j, k) by the definition, patch by patch: pairs of neighbours that are √2 apart."""

    def around(centre: np.ndarray) -> np.ndarray:
        return image[tuple(np.clip(centre + patch, 0, np.array(image.shape) - 1).T)]

    six = [sign * np.eye(3, dtype=int)[axis] for axis in range(3) for sign in (-1, 1)]
    pairs = [(a, b) for a, b in combinations(six, 2) if np.sum((a - b) ** 2) == 2]
    patch = np.array(list(np.ndindex((2 * radius + 1,) * 3))) - radius
    distances = np.empty((len(pairs), *image.shape))
    for x in np.ndindex(image.shape):
        for n, (a, b) in enumerate(pairs):
            distances[n][x] = np.mean((around(x + dilation * a) - around(x + dilation * b)) ** 2)
    distances -= distances.min(axis=0)
    noise = distances.mean(axis=0)
    return np.exp(-distances / np.clip(noise, 1e-3 * noise.mean(), 1e3 * noise.mean()))


@pytest.mark.parametrize("radius, dilation", [(0, 1), (1, 1), (1, 2), (2, 2)])
def test_equals_its_definition(radius, dilation):
    images = noise(0, 2, 1, 4, 5, 3)
    images[1, 0, :2] = 0.5  # flat here, so that the noise estimate is clamped
    images[1, 0, 2:] *= 1e-3
    images[1, 0, 3, 4, 2] = 1
    moved, fixed = (naive(x[0].numpy(), radius, dilation) for x in images)
    expected = np.mean((moved - fixed) ** 2)
    assert float(mind_loss(images[:1], images[1:], radius, dilation)) == pytest.approx(
        expected, rel=1e-9
    )
    # the same twelve, in whatever order
    for image, each in zip(images, (moved, fixed), strict=True):
        found = _Descriptors(image[0], radius, dilation).values.numpy()
        np.testing.assert_allclose(np.sort(found, axis=0), np.sort(each, axis=0), rtol=1e-9)


def test_gain_offset_and_contrast_inversion_change_nothing():
    x = noise(0, 1, 1, 9, 10, 8)
    y = noise(1, 1, 1, 9, 10, 8)
    assert float(mind_loss(x, x)) == 0
    for other in (1 - x, 1000 * x - 77, 0.01 * x):
        assert float(mind_loss(other, x)) == pytest.approx(0, abs=1e-12)
        assert float(mind_loss(other, y)) == pytest.approx(float(mind_loss(x, y)), rel=1e-6)
    assert 0.02 < float(mind_loss(x, y)) < 1


def test_descriptors_move_with_the_image():
    x = noise(0, 16, 14, 12)
    a, b = _Descriptors(x, 1, 2).values, _Descriptors(x.roll(2, 0), 1, 2).values
    # what sees neither the edge nor the seam of the roll
    inner = (slice(None), *[slice(3, -3)] * 3)
    clamps = [(d < 1e-6).sum() for d in (a, b)]
    assert max(clamps) < 10  # no noise estimate is far from the mean, which the edge enters
    torch.testing.assert_close(a.roll(2, 1)[inner][:, 2:], b[inner][:, 2:])


def test_sliding_off_its_place_costs_more():
    coarse = noise(0, 1, 1, 6, 6, 6)
    x = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="trilinear")
    values = [float(mind_loss(1 - x.roll(n, 2), x)) for n in range(4)]
    assert values == sorted(values) and values[0] < 1e-9 and values[1] > 1e-3


def test_a_batch_is_the_mean_of_its_samples():
    a, b = noise(0, 2, 1, 6, 7, 5), noise(1, 2, 1, 6, 7, 5)
    a[1] *= 1e-3  # an amplitude of its own: clamps are per sample
    each = torch.stack([mind_loss(a[n : n + 1], b[n : n + 1]) for n in range(2)])
    torch.testing.assert_close(mind_loss(a, b), each.mean())


@pytest.mark.parametrize("radius, dilation", [(0, 1), (1, 1), (2, 2)])
def test_gradients(radius, dilation):
    a, b = noise(0, 1, 1, 3, 4, 2).requires_grad_(), noise(1, 1, 1, 3, 4, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: mind_loss(a, b, radius, dilation), (a, b))


def test_gradients_where_the_noise_estimate_is_clamped():
    a, b = 0.5 + 1e-3 * noise(0, 1, 1, 12, 2, 2), noise(1, 1, 1, 12, 2, 2)
    a[0, 0, -1, -1, -1] = 1.5  # one step, far above all the rest
    d = _Descriptors(a[0, 0], 1, 1)
    assert d.too_low.any() and not d.too_low.all()
    assert torch.autograd.gradcheck(
        lambda a: mind_loss(a, b, 1, 1), (a.requires_grad_(),), eps=1e-7, atol=1e-4
    )


def test_flat_images_have_no_gradient_and_no_nan():
    flat = torch.full((1, 1, 6, 6, 6), 0.3, requires_grad=True)
    loss = mind_loss(flat, noise(0, 1, 1, 6, 6, 6, dtype=torch.float32))
    loss.backward()
    assert 0 < loss.item() < 1 and not flat.grad.any()


def test_is_single_precision_under_autocast():
    a, b = (
        noise(0, 1, 1, 9, 9, 9, dtype=torch.float32),
        noise(1, 1, 1, 9, 9, 9, dtype=torch.float32),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = mind_loss(a, b)
    assert loss.dtype == torch.float32 and torch.equal(loss, mind_loss(a, b))


def test_refuses_what_makes_no_sense():
    a = noise(0, 1, 2, 4, 4, 4)
    with pytest.raises(InputError, match="2 channels"):
        mind_loss(a, a)
    with pytest.raises(InputError, match="dilation 0"):
        mind_loss(a[:, :1], a[:, :1], dilation=0)
    with pytest.raises(InputError, match="one shape"):
        mind_loss(a[:, :1], a[:, :1, 1:])
