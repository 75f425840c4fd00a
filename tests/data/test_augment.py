"""Augmentation: none by default, reproducible from the seed, each change of the size asked for."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from sacbnet.data.augment import Augmentation, augment
from sacbnet.errors import InputError

SHAPE = (33, 37, 29)
EVERYTHING = Augmentation((0, 1, 2), 10, 0.1, 3, gamma=0.3, bias=0.2, noise=0.02)


def ball(
    radius_mm: float = 9.0, shape=SHAPE, spacing=(1.0, 1.0, 1.0), centre_mm=(0.0, 0.0, 0.0)
) -> Tensor:
    """A ball (1, 1, i, j, k), 1 inside and 0 outside, smooth over 3 mm.

    The position is in mm from the centre of the grid.
    """
    at = (np.stack(np.indices(shape), -1) - (np.array(shape) - 1) / 2) * spacing - centre_mm
    distance = np.linalg.norm(at, axis=-1) - radius_mm
    return torch.from_numpy(np.clip(0.5 - distance / 3, 0, 1).astype(np.float32))[None, None]


def moments(image: Tensor, spacing=(1.0, 1.0, 1.0)) -> tuple[float, np.ndarray, np.ndarray]:
    """Volume (mm³), centre (mm about the grid's), covariance (mm²)."""
    weights = image[0, 0].double().numpy()
    at = (np.stack(np.indices(weights.shape), -1) - (np.array(weights.shape) - 1) / 2) * spacing
    total = weights.sum()
    centre = (at * weights[..., None]).sum((0, 1, 2)) / total
    off = at - centre
    covariance = np.einsum("ijk,ijka,ijkb->ab", weights, off, off) / total
    return float(total * np.prod(spacing)), centre, covariance


def noise_pair(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 1, *SHAPE, generator=generator), torch.rand(
        1, 1, *SHAPE, generator=generator
    )


def same(a: object, b: object) -> bool:
    flat = [
        [t for t in itertools.chain(*(x or () for x in side)) if t is not None] for side in (a, b)
    ]
    return all(torch.equal(x, y) for x, y in zip(*flat, strict=True))


def test_off_by_default() -> None:
    pair = noise_pair()
    labels = (torch.ones(1, 1, *SHAPE, dtype=torch.uint8), None)
    images, carried = augment(Augmentation(), (1, 2), pair, labels)
    assert images[0] is pair[0] and images[1] is pair[1]
    assert carried[0] is labels[0] and carried[1] is None
    assert augment(Augmentation(), (1,), pair)[1] is None


def test_the_seed_decides_and_nothing_else() -> None:
    labels = tuple((image > 0.5).to(torch.int32) for image in noise_pair())
    before = [image.clone() for image in noise_pair()]
    pair = noise_pair()
    np.random.seed(0)  # noqa: NPY002
    first = augment(EVERYTHING, (3, 14), pair, labels)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    random.seed(1)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    again = augment(EVERYTHING, (3, 14), pair, labels)
    assert same(first, again)
    assert torch.equal(states[0], torch.get_rng_state()) and states[1] == random.getstate()
    assert (states[2] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert all(torch.equal(a, b) for a, b in zip(pair, before, strict=True))  # not in place
    for other in ((3, 15), (14, 3), (3,)):
        assert not same(first, augment(EVERYTHING, other, pair, labels))


def test_one_option_does_not_change_what_another_draws() -> None:
    images = ball(), ball()
    flipped = Augmentation((0, 1, 2), 10, 0.1, 3, relative=0)
    for seed in range(3):
        with_noise = augment(
            Augmentation((0, 1, 2), 10, 0.1, 3, relative=0, noise=1e-6), (seed,), images
        )[0]
        without = augment(flipped, (seed,), images)[0]
        assert (
            max(float((a - b).abs().max()) for a, b in zip(with_noise, without, strict=True)) < 1e-4
        )


def test_flips_are_exact_alike_and_every_other_time() -> None:
    pair = noise_pair()
    labels = tuple((10 * image).to(torch.uint8) for image in pair)
    ways = [axes for n in range(3) for axes in itertools.combinations((2, 4), n)]
    counts = dict.fromkeys(ways, 0)
    for seed in range(80):
        images, carried = augment(Augmentation(flip=(0, 2)), (seed,), pair, labels)
        way = next(w for w in ways if torch.equal(images[0], pair[0].flip(w)))
        counts[way] += 1
        assert torch.equal(images[1], pair[1].flip(way))
        assert all(torch.equal(c, one.flip(way)) for c, one in zip(carried, labels, strict=True))
    assert sum(counts.values()) == 80 and min(counts.values()) >= 8  # 20 expected of each


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.0, 1.6)])
def test_shifts_and_scales_are_within_their_ranges(spacing) -> None:
    image = ball(spacing=spacing, radius_mm=8)
    volume, _, covariance = moments(image, spacing)
    shifts, scales = [], []
    for seed in range(30):
        (moving, fixed), _ = augment(
            Augmentation(affine_mm=4, relative=0), (seed,), (image, image), None, spacing
        )
        assert torch.equal(moving, fixed)
        found, centre, _ = moments(fixed, spacing)
        shifts.append(centre)
        assert found == pytest.approx(volume, rel=0.02)
        (_, fixed), _ = augment(
            Augmentation(affine_scale=0.2), (seed,), (image, image), None, spacing
        )
        scales.append(np.sqrt(np.diag(moments(fixed, spacing)[2]) / np.diag(covariance)))
    assert 3 < np.abs(shifts).max() < 4.05 and np.abs(np.mean(shifts)) < 0.8
    assert 1.12 < np.max(scales) < 1.22 and 1 / 1.22 < np.min(scales) < 1 / 1.12


def test_a_rotation_turns_about_the_centre_in_mm() -> None:
    """A ball off the centre keeps its distance and its shape, although voxels are not cubes."""
    spacing, shape = (0.8, 1.0, 1.6), (41, 37, 23)
    off = np.array([6.0, -5.0, 4.0])
    image = ball(6.0, shape, spacing, off)
    angles = []
    for seed in range(20):
        (_, turned), _ = augment(
            Augmentation(affine_degrees=20), (seed,), (image, image), None, spacing
        )
        _, centre, covariance = moments(turned, spacing)
        assert np.linalg.norm(centre) == pytest.approx(np.linalg.norm(off), abs=0.1)
        spread = np.linalg.eigvalsh(covariance)
        assert spread[2] / spread[0] < 1.06
        angles.append(
            np.rad2deg(np.arccos(centre @ off / np.linalg.norm(centre) / np.linalg.norm(off)))
        )
    assert 12 < max(angles) < 20 * 3**0.5


def test_the_moving_image_has_a_smaller_affine_of_its_own() -> None:
    image = ball()
    for relative, low, high in ((0.0, 0.0, 0.0), (0.25, 0.4, 1.05), (1.0, 2.0, 4.05)):
        options = Augmentation(affine_mm=4, relative=relative)
        apart = []
        for seed in range(20):
            (moving, fixed), _ = augment(options, (seed,), (image, image))
            apart.append(np.abs(moments(moving)[1] - moments(fixed)[1]).max())
        assert low <= max(apart) <= high, (relative, max(apart))


def test_labels_follow_their_images() -> None:
    image = ball(radius_mm=8, centre_mm=(3, -2, 1))
    labels = tuple(
        torch.where(image >= 0.5, value, 0).to(dtype)
        for value, dtype in ((200, torch.uint8), (70000, torch.int32))
    )
    for seed in range(5):
        (moving, fixed), carried = augment(
            Augmentation((0,), 15, 0.1, 3), (seed,), (image, image), labels
        )
        for changed, label, value, before in zip(
            (moving, fixed), carried, (200, 70000), labels, strict=True
        ):
            assert label.dtype == before.dtype and set(label.unique().tolist()) == {0, value}
            a, b = changed >= 0.5, label == value
            assert 2 * float((a & b).sum()) / float(a.sum() + b.sum()) > 0.94
            assert abs(float(a.sum()) / float(b.sum()) - 1) < 0.03


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_no_label_value_is_rounded(dtype) -> None:
    """float32 holds whole numbers up to 2^24 alone."""
    highest = min(torch.iinfo(dtype).max, 2**31 - 1)
    values = torch.tensor(
        [0, 1, highest - 2, highest - 1, highest] + [-1, -highest] * dtype.is_signed, dtype=dtype
    )
    index = torch.randint(
        0, len(values), (1, 1, *SHAPE), generator=torch.Generator().manual_seed(0)
    )
    options, pair = Augmentation((1,), 15, 0.1, 3), noise_pair()
    _, (moving, fixed) = augment(options, (5,), pair, (values[index], values[index]))
    # the same by their numbers
    _, (*expected,) = augment(options, (5,), pair, (index.to(torch.uint8),) * 2)
    for found, number in zip((moving, fixed), expected, strict=True):
        assert found.dtype == dtype and torch.equal(found, values[number.long()])
        assert len(found.unique()) == len(values) and not torch.equal(found, values[index])


def test_gamma_keeps_the_order_and_the_ends() -> None:
    ramp = torch.linspace(0, 1, 32).reshape(1, 1, 32, 1, 1).expand(1, 1, 32, 4, 4).contiguous()
    exponents = []
    for seed in range(30):
        for found in augment(Augmentation(gamma=0.5), (seed,), (ramp, ramp))[0]:
            values = found[0, 0, :, 0, 0]
            assert values[0] == 0 and values[-1] == 1 and bool((values.diff() > 0).all())
            exponents.append(float(values[16].log() / ramp[0, 0, 16, 0, 0].log()))
    assert 1 / 1.5 <= min(exponents) < 0.75 and 1.33 < max(exponents) <= 1.5
    assert len(set(exponents)) == 60  # each image by itself


def test_noise_spares_what_was_cut_away() -> None:
    image = torch.full((1, 1, *SHAPE), 0.5)
    image[..., :10] = 0
    deviations = []
    for seed in range(20):
        moving, fixed = augment(Augmentation(noise=0.05), (seed,), (image, image))[0]
        assert bool((moving[..., :10] == 0).all()) and not torch.equal(moving, fixed)
        change = (moving - image)[..., 10:]
        assert abs(float(change.mean())) < 1e-3
        deviations.append(float(change.std()))
    assert 0.04 < max(deviations) < 0.0505 and min(deviations) < 0.02


def test_a_bias_field_is_smooth_and_of_its_strength() -> None:
    image = torch.full((1, 1, *SHAPE), 0.4)
    logs = []
    for seed in range(20):
        moving, fixed = augment(Augmentation(bias=0.1), (seed,), (image, image))[0]
        assert not torch.equal(moving, fixed)
        log = (fixed / image).log()
        assert max(float(log.diff(dim=d).abs().max()) for d in (2, 3, 4)) < 0.08
        logs.append(log[..., ::12, ::12, ::12])
    assert 0.05 < float(torch.cat(logs).std()) < 0.12


def test_intensities_stay_in_range() -> None:
    image = ball()
    for seed in range(10):
        for found in augment(EVERYTHING, (seed,), (image, image))[0]:
            assert found.dtype == torch.float32 and found.shape == image.shape
            assert float(found.min()) >= 0 and float(found.max()) <= 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"flip": (0, 3)}, r"flip is \[0, 3\]; a list of the axes 0, 1 and 2"),
        ({"noise": -1}, "noise is -1"),
        ({"gamma": np.nan}, "gamma is nan"),
    ],
)
def test_options(wrong, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        Augmentation(**wrong)


def test_options_from_a_file_may_be_lists() -> None:
    assert Augmentation(flip=[0]) == Augmentation(flip=(0,)) and hash(Augmentation(flip=[0]))
