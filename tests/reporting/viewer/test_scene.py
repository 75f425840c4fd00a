"""What is shown of a result, and what is said where an image is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sacbnet.errors import InputError
from sacbnet.io.images import load_image, save_image
from sacbnet.registration.apply import load_report
from sacbnet.reporting.viewer.scene import scene_of_pair, scene_of_result


def test_a_result_with_all_its_images(scene, from_files, pair) -> None:
    assert scene.title == "moving.nii.gz registered to fixed.nii.gz"
    assert scene.notes == ()
    assert [x.name for x in (scene.first, scene.second, scene.other)] == [
        "fixed",
        "moved",
        "moving",
    ]
    assert np.array_equal(scene.first.image.data, pair.fixed.data)
    assert np.allclose(scene.second.image.data, from_files.moved.data)
    assert scene.second.image.grid.matches(scene.first.image.grid)
    assert scene.second.ends == scene.other.ends
    assert len(scene.outlines) == 2
    assert np.array_equal(scene.outlines[0].labels.data, pair.fixed_labels.data)
    assert np.array_equal(scene.outlines[1].labels.data, from_files.moved_labels.data)
    assert np.array_equal(scene.other_outlines[0].labels.data, pair.moving_labels.data)
    assert scene.error is not None
    assert scene.report.verdict == from_files.report.verdict


@pytest.fixture
def elsewhere(folder, files, tmp_path) -> Path:
    """The result, whose run.json names images in a folder that can be changed."""
    shutil.copytree(folder, tmp_path / "result")
    home = tmp_path / "images"
    home.mkdir()
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        shutil.copy(files[name], home)
    run = tmp_path / "result" / "run.json"
    run.write_text(run.read_text().replace(str(files["fixed"].parent), str(home)))
    return tmp_path


def test_missing_images_are_said_and_left_out(elsewhere, files) -> None:
    shutil.rmtree(elsewhere / "images")
    scene = scene_of_result(elsewhere / "result")
    assert (scene.first.name, scene.second, scene.other) == ("moved", None, None)
    assert scene.other_grid.matches(load_report(elsewhere / "result" / "run.json").moving.grid)
    assert len(scene.outlines) == 1  # the moved labels
    for what in ("fixed image", "moving image", "label map of the fixed image"):
        assert sum(f"The {what} is not at" in note for note in scene.notes) == 1, scene.notes
    again = scene_of_result(elsewhere / "result", fixed=files["fixed"], moving=files["moving"])
    assert (again.first.name, again.other.name) == ("fixed", "moving")


def test_an_image_that_has_changed_is_not_shown_as_the_one_that_was_registered(elsewhere) -> None:
    shutil.copy(elsewhere / "images" / "moving.nii.gz", elsewhere / "images" / "fixed.nii.gz")
    scene = scene_of_result(elsewhere / "result")
    assert scene.first.name == "moved"
    assert "fixed.nii.gz has changed since the registration" in scene.notes[0]


def test_names_are_also_taken_from_the_folder_of_the_result(elsewhere) -> None:
    run = elsewhere / "result" / "run.json"
    run.write_text(run.read_text().replace(str(elsewhere / "images"), "../images"))
    assert scene_of_result(elsewhere / "result").notes == ()


def test_a_file_that_was_not_registered_is_refused(folder, files) -> None:
    with pytest.raises(InputError, match=r"is not the fixed image of .* its hash differs"):
        scene_of_result(folder, fixed=files["moving"])


def test_a_folder_without_a_result(tmp_path) -> None:
    with pytest.raises(InputError, match="output folder of sacbnet register was expected"):
        scene_of_result(tmp_path)
    with pytest.raises(InputError, match="output folder of sacbnet register was expected"):
        scene_of_result(tmp_path / "absent")


def test_images_from_memory_are_said(result) -> None:
    scene = scene_of_result(result)
    assert scene.first.name == "moved"
    assert len(scene.notes) >= 2


def test_labels_that_are_given_replace_those_of_the_result(folder, files) -> None:
    scene = scene_of_result(folder, [files["fixed_labels"]])
    assert [x.name for x in scene.outlines] == ["fixed_labels.nii.gz"]
    with pytest.raises(InputError, match=r"3 label maps were given; at most 2"):
        scene_of_result(folder, [files["fixed_labels"]] * 3)


def test_two_images_of_any_format(files, pair, tmp_path) -> None:
    moving = load_image(files["aligned"])
    save_image(tmp_path / "b.mha", moving.data, moving)
    scene = scene_of_pair(files["fixed"], tmp_path / "b.mha", [files["fixed_labels"]])
    assert scene.title == "fixed.nii.gz and b.mha"
    assert scene.second.image.grid.matches(scene.first.image.grid)
    assert "interpolated" in scene.notes[0]
    assert np.array_equal(scene.other.image.data, moving.data)
    p = scene.first.frame.grid.centre
    onto = sitk.Resample(
        sitk.ReadImage(tmp_path / "b.mha"),
        sitk.ReadImage(files["fixed"], sitk.sitkFloat32),
        sitk.Transform(),
        sitk.sitkLinear,
    )
    i, j, k = np.round(scene.first.image.grid.voxels(p)).astype(int)
    assert scene.second.image.data[i, j, k] == np.float32(onto[int(i), int(j), int(k)]).round(
        3
    ) or np.isclose(scene.second.image.data[i, j, k], onto[int(i), int(j), int(k)], atol=0.05)


def test_two_images_far_apart_are_said(files, pair, tmp_path) -> None:
    grid = pair.fixed.grid
    affine = grid.affine.copy()
    affine[:3, 3] += 1000
    save_image(tmp_path / "far.nii", pair.fixed.data, type(grid)(grid.shape, affine))
    scene = scene_of_pair(files["fixed"], tmp_path / "far.nii")
    assert "100 % of the first image lie outside the second one" in scene.notes[1]
