"""Pairs made from label maps: what must be so whatever is drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sacbnet.config.recipe import recipe_from_dict
from sacbnet.data.synthesis import Anatomy, SynthesisOptions, synthesise
from sacbnet.data.synthesis.deform import coordinates, random_warp, spline_field
from sacbnet.data.synthesis.render import gaussian, random_table, unit, view_table
from sacbnet.errors import InputError
from sacbnet.imaging.intensities import to_unit
from sacbnet.spatial.jacobian import jacobian_determinant

SHAPE = (32, 40, 36)
VALUES = (0, 2, 3, 7, 41, 507)
STILL = SynthesisOptions(degrees=0, scale=0, shift_mm=0, warp_mm=0, removed=0, cropped=0)
PLAIN = replace(STILL, texture=0, bias=0, gamma=0, blur=0, thick_share=0, noise=0)


@pytest.fixture
def anatomy() -> Anatomy:
    """Shells within shells, one side 2, the other 41, about them 507."""
    i, j, k = np.indices(SHAPE) - (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) / 2
    r = np.sqrt(i**2 + j**2 + k**2)
    numbers = np.where(r < 15, 5, 0)
    numbers[r < 13] = 2
    numbers[r < 9] = np.where(i < 0, 1, 4)[r < 9]
    numbers[r < 4] = 3
    return Anatomy(torch.from_numpy(numbers.astype(np.uint8)), VALUES)


def test_the_seed_alone_decides(anatomy):
    before = torch.get_rng_state()
    a, b, c = (
        synthesise(SynthesisOptions(), (seed, 5), anatomy, anatomy, 1.0) for seed in (1, 1, 2)
    )
    for name in vars(a):
        assert torch.equal(getattr(a, name), getattr(b, name))
        assert not torch.equal(getattr(a, name), getattr(c, name))
    assert torch.equal(before, torch.get_rng_state())


def test_shapes_types_and_ranges(anatomy):
    for seed in range(8):
        made = synthesise(
            SynthesisOptions(removable=((507,), (3,))), (seed,), anatomy, anatomy, 1.0
        )
        for name, x in vars(made).items():
            assert x.shape == (1, 1, *SHAPE) and x.dtype == (
                torch.int32 if "labels" in name else torch.float32
            )
            if "labels" not in name:
                assert torch.isfinite(x).all() and x.min() >= 0 and x.max() <= 1
        assert set(made.fixed_labels.unique().tolist()) <= set(VALUES)


def test_unmoved_maps_come_back(anatomy):
    made = synthesise(STILL, (0,), anatomy, anatomy, 1.0)
    wanted = torch.tensor(VALUES)[anatomy.numbers.long()]
    assert torch.equal(made.moving_labels[0, 0].long(), wanted) and torch.equal(
        made.fixed_labels[0, 0].long(), wanted
    )
    assert torch.equal(made.moving_view, made.fixed_view)  # one anatomy, one contrast


def test_a_coarser_image_shows_the_mean_of_what_its_voxels_hold(anatomy):
    o = replace(PLAIN, factor=2, same_contrast=1.0)
    made = synthesise(o, (3,), anatomy, anatomy, 1.0)
    fine = synthesise(replace(o, factor=1), (3,), anatomy, anatomy, 1.0)
    assert made.fixed_view.shape == (1, 1, 16, 20, 18)
    error = made.fixed_view - torch.nn.functional.avg_pool3d(fine.fixed_view, 2)
    assert float(error.abs().mean()) < 0.03 and abs(float(error.mean())) < 0.01
    inner = (made.fixed_view > 0) & (made.fixed_view < 1)
    assert len(made.fixed_view[inner].unique()) > 10  # partial volume: more greys than labels


def test_classes_share_their_intensity(anatomy):
    o = replace(PLAIN, classes=((2, 41),), same_contrast=1.0)
    left, right = (anatomy.numbers == n for n in (1, 4))
    inner = torch.nn.functional.max_pool3d((~(left | right)).float()[None], 3, 1, 1)[0] == 0
    for seed in range(5):
        made = synthesise(o, (seed,), anatomy, anatomy, 1.0)
        greys = [made.fixed[0, 0][side & inner] for side in (left, right)]
        assert float(greys[0].std()) < 1e-5 and abs(float(greys[0].mean() - greys[1].mean())) < 1e-5


def test_contrast_is_shared_or_not(anatomy):
    same = synthesise(replace(PLAIN, same_contrast=1.0), (4,), anatomy, anatomy, 1.0)
    other = synthesise(replace(PLAIN, same_contrast=0.0), (4,), anatomy, anatomy, 1.0)
    assert torch.equal(same.moving, same.fixed)
    assert float((other.moving - other.fixed).abs().max()) > 0.05
    assert torch.equal(other.moving_view, other.fixed_view)


def test_what_is_removed_is_black_and_has_no_label(anatomy):
    o = replace(PLAIN, removable=((507, 3),), removed=1.0)
    shown = 0
    for seed in range(40):
        made = synthesise(o, (seed,), anatomy, anatomy, 1.0)
        assert not torch.isin(made.fixed_labels, torch.tensor([507, 3], dtype=torch.int32)).any()
        core = anatomy.numbers[None, None] == 2  # the shell of value 3
        inner = torch.nn.functional.max_pool3d((~core).float(), 3, 1, 1) == 0
        assert inner.any() and not made.fixed_view[inner].any()
        shown += bool(made.fixed[inner].any())  # now and then one image of the two keeps it
    assert 0 < shown < 12


def test_cropping_leaves_black_slabs(anatomy):
    full = torch.full(SHAPE, 2, dtype=torch.uint8)
    full[:, :20] = 3
    full = Anatomy(full, VALUES)
    cut = [
        synthesise(replace(PLAIN, cropped=1.0), (s,), full, full, 1.0).fixed[0, 0]
        for s in range(12)
    ]
    whole = [synthesise(PLAIN, (s,), full, full, 1.0).fixed[0, 0] for s in range(12)]
    black = [float(((x == 0) & (y > 0)).float().mean()) for x, y in zip(cut, whole, strict=True)]
    assert max(black) <= 0.25 and sum(b > 0 for b in black) > 6


def test_warps_do_not_fold():
    o = SynthesisOptions(warp_mm=50.0)
    for seed in range(4):
        u = random_warp(o, (48, 48, 48), 1.0, np.random.default_rng(seed))
        assert float((jacobian_determinant(u) <= 0).float().mean()) < 0.01
        assert 2 < float(u.norm(dim=0).max()) < 60


def test_splines_are_smooth_and_fill_the_lattice():
    field = spline_field((30, 20, 25), 6.5, 2, np.random.default_rng(0))
    assert field.shape == (1, 2, 30, 20, 25)
    second = field[..., 2:] - 2 * field[..., 1:-1] + field[..., :-2]
    # of cubic B-splines: bounded by the coefficients' differences
    assert float(second.abs().max()) < 4 * 3 / 6.5**2


def test_coordinates_of_the_identity_and_of_a_shift():
    at = coordinates(np.eye(4), (5, 6, 7), (10, 12, 14), 2, 1.0)
    assert np.allclose(at[:, 0, 0, 0], 0.5) and np.allclose(at[:, -1, -1, -1], [8.5, 10.5, 12.5])
    affine = np.eye(4)
    affine[:3, 3] = 3, 0, -1
    assert np.allclose(
        coordinates(affine, (4, 4, 4), (4, 4, 4), 1, 2.0)[:, 0, 0, 0], [1.5, 0, -0.5]
    )


def test_tables_of_intensity():
    numbers = (0, 1, 2, 1, 3)
    view = view_table(numbers, np.random.default_rng(0))
    assert (
        view[0] == 0
        and view[1] == view[3]
        and sorted(view[[1, 2, 4]].tolist()) == pytest.approx([1 / 3, 2 / 3, 1])
    )
    table = random_table(numbers, np.random.default_rng(1))
    assert table[1] == table[3] != table[2]


def test_gaussian_and_unit_agree_with_scipy_and_preprocessing():
    from scipy.ndimage import gaussian_filter

    x = np.random.default_rng(0).random((20, 22, 24), dtype=np.float32)
    found = gaussian(torch.from_numpy(x)[None, None], 1.3)[0, 0].numpy()
    assert np.abs(found - gaussian_filter(x, 1.3, mode="nearest", truncate=3.0)).max() < 2e-3
    y = np.random.default_rng(1).random((40, 40, 40), dtype=np.float32) ** 4
    assert np.abs(unit(torch.from_numpy(y)).numpy() - to_unit(y)).max() < 1e-3


@pytest.mark.parametrize(
    "wrong", [{"factor": 0}, {"removed": 1.5}, {"warp_knots_mm": (0.0,)}, {"noise": -1.0}]
)
def test_wrong_options(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=f"^{name} is .* was expected"):
        SynthesisOptions(**wrong)
    with pytest.raises(InputError, match=rf"^synthesis\.{name} is .* was expected"):
        recipe_from_dict({"synthesis": wrong})


def test_boxes_of_any_size_lie_beside_the_map_as_told(anatomy):
    whole = torch.tensor(VALUES)[anatomy.numbers.long()]
    shapes = set()
    for seed in range(12):
        larger = synthesise(replace(STILL, box=(1.2, 1.6)), (seed,), anatomy, anatomy, 1.0)
        assert torch.equal(larger.moving_labels, larger.fixed_labels)  # both images have one box
        shapes.add(larger.fixed.shape)
        held = larger.fixed_labels[0, 0].nonzero()
        low, high = held.amin(0), held.amax(0) + 1
        of_map = whole.nonzero()
        assert torch.equal(high - low, of_map.amax(0) + 1 - of_map.amin(0))  # nothing is cut off
        assert larger.fixed_labels.count_nonzero() == whole.count_nonzero()
        smaller = synthesise(replace(STILL, box=(0.5, 0.8)), (seed,), anatomy, anatomy, 1.0)
        assert all(
            0.5 * n - 1 <= m <= 0.8 * n + 1
            for m, n in zip(smaller.fixed.shape[2:], SHAPE, strict=True)
        )
        # within the map: 0.31 of it is labelled
        assert smaller.fixed_labels.bool().float().mean() > 0.3
    assert len(shapes) > 6
