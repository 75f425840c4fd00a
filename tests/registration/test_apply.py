"""Warper: further images, labels and points through a finished registration, both ways."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import sacbnet
from sacbnet.errors import InputError
from sacbnet.imaging.background import background
from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.registration.result import AFFINE, INVERSE, RUN, TRANSFORM
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine


@pytest.fixture(scope="module")
def warper(result) -> sacbnet.Warper:
    return sacbnet.Warper.of(result)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(
        np.mean(
            [
                2 * ((a == n) & (b == n)).sum() / ((a == n).sum() + (b == n).sum())
                for n in (3, 4, 5, 13)
            ]
        )
    )


def test_from_the_folder_as_from_the_registration(pair, warper, registered) -> None:
    other = sacbnet.Warper.of(registered)
    p = pair.in_head
    assert np.abs(warper.transform(p) - other.transform(p)).max() < 1e-3
    assert np.abs(warper.inverse(p) - other.inverse(p)).max() < 1e-3
    assert warper.fixed.matches(pair.fixed.grid) and warper.moving.matches(pair.moving.grid)


def test_the_moving_image_onto_fixed_is_the_moved_image(pair, warper, registered) -> None:
    found = warper.image(pair.moving, "fixed")
    assert found.grid.matches(pair.fixed.grid)
    assert np.abs(found.data - registered.moved.data).max() < 1e-3 * np.ptp(pair.moving.data)
    labels = warper.image(pair.moving_labels, "fixed", "nearest")
    assert (
        labels.data.dtype.kind in "iu"
        and (labels.data != registered.moved_labels.data).mean() < 1e-3
    )


def test_labels_in_both_directions(pair, warper) -> None:
    onto_fixed = warper.image(pair.moving_labels, "fixed", "nearest")
    assert overlap(onto_fixed.data, pair.fixed_labels.data) > 0.6
    onto_moving = warper.image(pair.fixed_labels, "moving", "nearest")
    assert onto_moving.grid.matches(pair.moving.grid)
    assert overlap(onto_moving.data, pair.moving_labels.data) > 0.6
    soft = warper.image(pair.fixed_labels, "moving", "onehot")
    assert overlap(soft.data, pair.moving_labels.data) > 0.6
    assert (soft.data != onto_moving.data).any()


def test_points_in_both_directions_and_back(pair, warper) -> None:
    fixed = Points(pair.landmarks, columns={"comment": tuple("x" * len(pair.landmarks))})
    moving, outside = warper.points(fixed, "moving")
    assert outside == 0 and moving.columns == fixed.columns and moving.labels == fixed.labels
    assert np.linalg.norm(moving.xyz - pair.true_map(pair.landmarks), axis=1).mean() < 0.8
    back, _ = warper.points(moving, "fixed")
    assert np.linalg.norm(back.xyz - pair.landmarks, axis=1).mean() < 0.1


def test_points_outside_are_counted(pair, warper) -> None:
    xyz = np.concatenate(
        [pair.landmarks[:5], pair.fixed.grid.centre + np.diag([500.0, -900.0, 0])[:2]]
    )
    moved, outside = warper.points(Points(xyz), "moving")
    assert outside == 2 and np.isfinite(moved.xyz).all()


def test_points_and_images_agree_on_the_direction(pair, warper) -> None:
    """A bright ball around a moving point lands, as an image, where the point lands."""
    at = pair.true_map(pair.landmarks)[40]
    distance = np.linalg.norm(
        pair.moving.grid.world(np.argwhere(np.ones(pair.moving.grid.shape))) - at, axis=1
    )
    ball = Image(
        np.exp(-0.5 * (distance / 2) ** 2).reshape(pair.moving.grid.shape).astype(np.float32),
        pair.moving.grid,
    )
    moved = warper.image(ball, "fixed")
    weight = moved.data.ravel().astype(float)
    centre = (pair.fixed.grid.world(np.argwhere(np.ones(moved.grid.shape))) * weight[:, None]).sum(
        0
    ) / weight.sum()
    point, _ = warper.points(Points(at[None]), "fixed")
    assert np.linalg.norm(centre - point.xyz[0]) < 1.0 < np.linalg.norm(centre - at)


def test_reference_is_another_grid_in_the_same_world(pair, warper) -> None:
    fine = pair.fixed.grid.with_spacing(2.0)
    found = warper.image(
        pair.moving,
        "fixed",
        reference=(np.ones(fine.shape) * np.arange(fine.shape[2]), fine.affine),
    )
    assert found.grid == fine
    whole = warper.image(pair.moving, "fixed").data
    assert (
        np.corrcoef(
            found.data.ravel(), whole[::2, ::2, ::2][: fine.shape[0], : fine.shape[1]].ravel()
        )[0, 1]
        > 0.5
    )


def test_another_image_in_the_world_of_the_moving_one(pair, warper) -> None:
    """A crop of the moving image, with its own grid, gives the same inside."""
    crop = Image(pair.moving.data[5:, 4:-3], pair.moving.grid.cropped((5, 4, 0), (54, 47, 28)))
    found, whole = warper.image(crop, "fixed").data, warper.image(pair.moving, "fixed").data
    seen = crop.grid.contains(
        warper.transform(pair.fixed.grid.world(np.argwhere(np.ones(whole.shape)))), -0.01
    )
    assert np.abs(found - whole).ravel()[seen].max() < 1e-3 * np.ptp(whole) and seen.mean() > 0.5


def test_beyond_the_field_the_affine_goes_on(pair, warper) -> None:
    """A reference that reaches further, and points further out, in both directions."""
    for onto, field, affine in (
        ("fixed", warper.transform, warper.affine),
        ("moving", warper.inverse, warper.affine.inverse),
    ):
        grid = field.grid
        far = grid.cropped([-40, -40, -40], np.array(grid.shape) + 40)
        target = far.with_spacing(far.spacing * 4)
        p = target.world(np.argwhere(np.ones(target.shape)))
        inside = np.clip(grid.voxels(p), 0, np.array(grid.shape) - 1)
        edge = grid.world(inside)
        expected = affine(p) + field(edge) - affine(edge)
        # an image whose intensities are its places shows where each voxel came from
        wide = Grid((80, 80, 80), np.diag([8.0, 8, 8, 1]))
        wide = Grid(
            wide.shape, Affine.translation(expected.mean(0) - wide.centre).matrix @ wide.affine
        )
        for axis in range(3):
            places = wide.world(np.moveaxis(np.indices(wide.shape), 0, -1))[..., axis]
            found = warper.image(
                (places, wide.affine), onto, reference=Image(np.zeros(target.shape), target)
            )
            assert np.abs(found.data.ravel() - expected[:, axis]).max() < 0.01
            (said,) = found.warnings
            assert "beyond the grid of the transform; the affine part was used there" in said
        back = "moving" if onto == "fixed" else "fixed"
        moved, outside = warper.points(Points(p), back)
        assert np.abs(moved.xyz - expected).max() < 1e-3
        assert outside == (~grid.contains(p)).sum() > 0.3 * len(p)
    assert not warper.image(pair.moving, "fixed").warnings


def test_without_the_affine_the_edge_holds_and_it_is_said(pair, warper) -> None:
    alone = replace(warper, affine=None)
    far = pair.fixed.grid.cropped([-30, 0, 0], pair.fixed.grid.shape)
    found = alone.image(pair.moving, "fixed", reference=Image(np.zeros(far.shape), far))
    assert "the displacement of its edge was used there" in found.warnings[0]
    p = pair.fixed.grid.world([[-25.0, 3, 3]])
    edge = pair.fixed.grid.world([[0.0, 3, 3]])
    moved, _ = alone.points(Points(p), "moving")
    np.testing.assert_allclose(moved.xyz, p + alone.transform.at(edge), atol=1e-3)


def test_what_the_image_does_not_reach_is_filled(pair, warper) -> None:
    crop = Image(
        pair.moving.data[20:40, 15:35, 8:20] - 700,
        pair.moving.grid.cropped((20, 15, 8), (40, 35, 20)),
    )
    there = warper.transform(
        pair.fixed.grid.world(np.moveaxis(np.indices(pair.fixed.grid.shape), 0, -1))
    )
    outside = ~crop.grid.contains(there)
    for fill, expected in ((-55.5, -55.5), ("auto", background(crop.data))):
        found, filled = warper.image_counted(crop, "fixed", fill=fill)
        assert filled.voxels == pytest.approx(outside.sum(), abs=5) and filled.value == expected
        assert (found.data[outside] == np.float32(expected)).mean() > 0.999
        assert (
            filled.percent == pytest.approx(100 * outside.mean(), abs=0.1) and filled.percent > 50
        )
        assert (
            "lie outside array; check that it belongs to the world of the moving image"
            in found.warnings[0]
        )
    labels = Image(np.full(crop.grid.shape, 7, np.int16), crop.grid)
    for how in ("nearest", "onehot"):
        found, filled = warper.image_counted(labels, "fixed", how, fill=-3)
        assert set(np.unique(found.data)) == {0, 7} and filled.value == 0
    for bad in (np.nan, np.inf, "air", None, 1e39):
        with pytest.raises(InputError, match=r"fill is .*; a finite number or auto was expected"):
            warper.image(crop, "fixed", fill=bad)


@pytest.mark.parametrize("how", ["linear", "nearest", "onehot"])
@pytest.mark.parametrize("onto, other", [("fixed", "moving"), ("moving", "fixed")])
def test_an_image_that_does_not_arrive_at_all(pair, warper, how, onto, other) -> None:
    source = pair.moving_labels if onto == "fixed" else pair.fixed_labels
    lost = Image(
        source.data,
        Grid(source.grid.shape, Affine.translation([900, 0, 0]).matrix @ source.grid.affine),
    )
    words = (
        f"nothing of array arrives .* lands .* mm from .* belongs to the world of the {other} image"
    )
    with pytest.raises(InputError, match=words) as error:
        warper.image(lost, onto, how)
    assert 700 < float(str(error.value).split("lands ")[1].split()[0]) < 1100


def test_folders_that_hold_no_registration(result, tmp_path) -> None:
    with pytest.raises(InputError, match="is no folder; the output folder of sacbnet register"):
        sacbnet.Warper.of(tmp_path / "none")
    for name in (TRANSFORM, INVERSE, AFFINE, RUN):
        with pytest.raises(InputError, match=f"holds no {name}"):
            sacbnet.Warper.of(tmp_path)
        (tmp_path / name).write_bytes((result / name).read_bytes())
    for text in (
        "",
        "[]",
        "{}",
        '{"fixed": {"shape": [1, 2]}}',
        json.dumps({"fixed": 3, "moving": 4}),
    ):
        (tmp_path / RUN).write_text(text)
        with pytest.raises(InputError, match="is no account of a registration"):
            sacbnet.Warper.of(tmp_path)


def test_labels_that_are_no_labels(pair, warper) -> None:
    with pytest.raises(InputError, match="not whole numbers"):
        warper.image(pair.moving, "fixed", "nearest")
