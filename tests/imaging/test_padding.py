"""Padding that repeats an image's edges is found, and has no say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sacbnet.config.recipe import LossOptions
from sacbnet.data.cases import Case
from sacbnet.data.packing import build_pack
from sacbnet.imaging.image import Image
from sacbnet.imaging.padding import own_box, own_mask
from sacbnet.io.images import save_image
from sacbnet.registration.inputs import read_inputs
from sacbnet.registration.prepare import prepare, within
from sacbnet.spatial.grid import Grid
from sacbnet.training.objective import Batch, similarity
from sacbnet.training.pairs import insides

sides = st.tuples(*[st.sampled_from([0, 2, 3, 7])] * 6)


def texture(shape=(12, 10, 11), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(sides)
def test_the_box_is_found_whatever_was_padded(s):
    data = np.pad(texture(), [(s[0], s[1]), (s[2], s[3]), (s[4], s[5])], mode="edge")
    box = own_box(data)
    if not any(s):
        assert box is None
    else:
        assert box == (slice(s[0], s[0] + 12), slice(s[2], s[2] + 10), slice(s[4], s[4] + 11))


@pytest.mark.parametrize("mode", ["constant", "reflect", "wrap"])
def test_other_padding_and_no_padding_is_left_alone(mode):
    assert own_box(np.pad(texture(), 5, mode=mode)) is None and own_mask(texture()) is None
    assert own_box(np.zeros((8, 8, 8))) is None


def test_one_repeated_slice_may_be_chance_and_an_image_constant_along_an_axis_is_itself():
    assert own_box(np.pad(texture(), [(1, 0), (0, 0), (0, 0)], mode="edge")) is None
    assert own_box(np.broadcast_to(texture()[:1], (12, 10, 11))) is None


@pytest.fixture
def padded(tmp_path):
    """Three cases: two padded differently, one not."""
    cases = []
    for n, width in enumerate([[(4, 6), (3, 5), (5, 4)], [(6, 4), (5, 3), (4, 5)], None]):
        data = (
            texture((22, 18, 20), n)
            if width is None
            else np.pad(texture(seed=n), width, mode="edge")
        )
        path = tmp_path / f"case_{n}.nii.gz"
        save_image(path, 100 * data, Image(data, Grid(data.shape, np.eye(4))))
        cases.append(Case(f"case_{n}", path))
    return cases


def test_it_takes_no_part_in_registration(padded):
    pair = prepare(
        read_inputs(fixed=padded[0].image, moving=padded[1].image).canonical(), spacing=1.0
    )
    inside = np.zeros((22, 18, 20), dtype=bool)
    inside[6:18, 5:15, 4:15] = True
    assert (pair.moving.mask == inside).all() and pair.fixed.mask.sum() == 12 * 10 * 11
    whole = prepare(
        read_inputs(fixed=padded[2].image, moving=padded[1].image).canonical(), spacing=1.0
    )
    assert whole.fixed.mask is None and whole.moving.mask is not None


def test_it_takes_no_part_in_the_training_loss(padded, tmp_path):
    pack = build_pack(padded, tmp_path / "set.pack")
    assert pack.inside(2) is None and insides(pack, 2, 2) is None
    assert float(pack.inside(0).sum()) == 12 * 10 * 11 and float(insides(pack, 0, 2)[1].mean()) == 1
    u = torch.zeros(1, 3, *pack.shape)
    o = LossOptions(window=3, noise=0.01)
    batch = Batch(pack.image(0), pack.image(1), None, None, *insides(pack, 0, 1))
    both = batch.inside(u)
    assert float(both.sum()) == 10 * 8 * 10  # of 12 × 10 × 11 each, shifted by 2, 2 and 1
    streaks = float(similarity(batch.moving, batch.fixed, o))
    fair = float(similarity(batch.moving, batch.fixed, o, both))
    spoilt = batch.fixed.clone()
    spoilt[..., 17:, :, :] = 0.5  # nothing within reach of the box counts
    assert float(similarity(batch.moving, spoilt, o, both)) == pytest.approx(fair, abs=1e-3)
    assert abs(streaks - fair) > 1e-3
    assert float(batch.reversed().inside(u).sum()) == float(both.sum())


def test_a_mask_loses_its_padding_and_keeps_all_else():
    def image(data, missing=None):
        return Image(data, Grid(data.shape, np.eye(4)), missing=missing)

    data = np.pad(texture(), [(3, 0), (0, 0), (0, 2)], mode="edge")
    inside = np.zeros(data.shape, bool)
    inside[3:, :, :-2] = True
    mask = np.random.default_rng(1).random(data.shape) > 0.4
    assert (mask & ~inside).any() and (inside & ~mask).any()
    np.testing.assert_array_equal(within(mask, image(data)), mask & inside)
    np.testing.assert_array_equal(within(None, image(data)), inside)
    missing = np.zeros(data.shape, bool)
    missing[6] = True
    np.testing.assert_array_equal(within(None, image(data, missing)), inside & ~missing)
    np.testing.assert_array_equal(within(mask, image(data, missing)), mask & inside & ~missing)
    whole, part = image(texture()), mask[3:, :, :-2]
    assert within(None, whole) is None
    np.testing.assert_array_equal(within(part, whole), part)
