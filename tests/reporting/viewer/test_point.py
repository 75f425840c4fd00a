"""A click shows what the transform itself says."""

from __future__ import annotations

import numpy as np
import pytest

from sacbnet.reporting.viewer.point import point
from sacbnet.reporting.viewer.scene import scene_of_pair

LPS = np.array([-1, -1, 1])


def test_a_click_on_the_fixed_image(scene, from_files) -> None:
    """The pair's axes are LAS and PIR, oblique: a mistake in the frame would show."""
    at = np.array([14.0, 29.0, 17.0])
    found = point(scene, "first", at)
    p = scene.first.frame.grid.world(at)
    q = from_files.transform(p[None])[0]
    for role, here, image in (("first", p, scene.first.image), ("other", q, scene.other.image)):
        place = found[role]
        assert np.allclose(place["ras"], here, atol=1e-3)
        assert np.allclose(place["lps"], here * LPS, atol=1e-3)
        assert np.allclose(place["voxel"], image.grid.voxels(here), atol=1e-2)
        nearest = tuple(np.round(place["voxel"]).astype(int))
        assert place["value"] == image.data[nearest]
        assert place["inside"]
    moved = tuple(np.round(found["first"]["voxel"]).astype(int))
    assert found["second"] == pytest.approx(from_files.moved.data[moved], abs=1e-3)
    u = found["displacement"]
    assert np.allclose(u["ras"], q - p, atol=1e-3)
    assert np.allclose(u["lps"], (q - p) * LPS, atol=1e-3)
    assert u["mm"] == pytest.approx(np.linalg.norm(q - p), abs=1e-3)
    beyond = from_files.affine.inverse(q) - p
    assert u["beyond_affine_mm"] == pytest.approx(np.linalg.norm(beyond), abs=1e-3)
    error = from_files.maps["uncertainty_mm.nii.gz"].data
    assert found["expected_error_mm"] == pytest.approx(error[moved], abs=1e-3)


def test_a_click_on_the_moving_image_goes_back(scene, from_files) -> None:
    there = point(scene, "first", [18, 25, 20])
    back = point(scene, "other", there["other"]["at"])
    assert np.allclose(back["other"]["ras"], there["other"]["ras"], atol=1e-3)
    assert np.allclose(back["first"]["at"], [18, 25, 20], atol=0.3)
    q = np.array(there["other"]["ras"])
    assert np.allclose(back["first"]["ras"], from_files.inverse(q[None])[0], atol=2e-3)


def test_a_click_outside_of_an_image_has_no_value(scene) -> None:
    found = point(scene, "first", [-30, 0, 0])
    assert not found["first"]["inside"]
    assert found["first"]["value"] is found["second"] is found["expected_error_mm"] is None
    assert np.isfinite(found["displacement"]["mm"])


def test_two_images_share_their_world(files) -> None:
    scene = scene_of_pair(files["fixed"], files["aligned"])
    found = point(scene, "first", [20, 20, 20])
    assert found["displacement"] is None
    assert found["first"]["ras"] == found["other"]["ras"]
    p = np.array(found["first"]["ras"])
    assert np.allclose(scene.other.image.grid.voxels(p), found["other"]["voxel"], atol=1e-3)
    again = point(scene, "other", found["other"]["at"])
    assert np.allclose(again["first"]["at"], [20, 20, 20], atol=1e-2)
