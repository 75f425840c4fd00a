"""Warper: further images, labels and points through a finished registration, both ways."""

from __future__ import annotations

import json

import numpy as np
import pytest

import sacbnet
from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.registration.result import INVERSE, RUN, TRANSFORM


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


def test_folders_that_hold_no_registration(result, tmp_path) -> None:
    with pytest.raises(InputError, match="is no folder; the output folder of sacbnet register"):
        sacbnet.Warper.of(tmp_path / "none")
    for name in (TRANSFORM, INVERSE, RUN):
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
