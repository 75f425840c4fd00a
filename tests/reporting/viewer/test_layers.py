"""What the browser draws lies in the frame of its image."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from sacbnet.imaging.image import Image
from sacbnet.reporting.viewer import layers
from sacbnet.reporting.viewer.scene import Shown


def test_a_volume_is_upright_and_to_scale(scene) -> None:
    for shown in (scene.first, scene.second, scene.other):
        image = nib.Nifti1Image.from_bytes(layers.volume(shown))
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert np.allclose(image.header.get_zooms(), shown.frame.grid.spacing)
        found = np.asarray(image.dataobj)
        assert np.array_equal(found, shown.frame.upright(shown.image.data))
    assert nib.Nifti1Image.from_bytes(layers.volume(scene.first)).get_data_dtype() == np.int16
    assert nib.Nifti1Image.from_bytes(layers.volume(scene.second)).get_data_dtype() == np.float32


def test_whole_numbers_that_do_not_fit_stay_as_they_are(scene) -> None:
    data = np.zeros((3, 4, 5), np.float32)
    data[1, 2, 3] = 40_000
    shown = Shown(
        "large", Image(data, scene.first.image.grid.cropped((0, 0, 0), (3, 4, 5))), (0, 1)
    )
    image = nib.Nifti1Image.from_bytes(layers.volume(shown))
    assert np.asarray(image.dataobj).max() == 40_000


def test_labels_are_numbered(scene) -> None:
    frame, labels = scene.first.frame, scene.outlines[0].labels
    given = layers.label_texture(frame, labels)
    found = np.frombuffer(given, np.uint16).reshape(frame.grid.shape, order="F")
    upright = frame.upright(labels.data)
    assert np.array_equal(found == 0, upright == 0)
    known = np.unique(upright[upright != 0])
    assert np.array_equal(known[found[found > 0] - 1], upright[upright != 0])


def test_the_expected_error_is_in_mm(scene) -> None:
    frame = scene.first.frame
    given = layers.error_texture(frame, scene.error)
    found = np.frombuffer(given, np.float16).reshape(frame.grid.shape, order="F")
    assert np.allclose(found, frame.upright(scene.error.data), rtol=1e-3)


def test_the_bend_is_the_displacement_beyond_the_affine(scene, from_files) -> None:
    frame = scene.first.frame
    grid = layers.bend_grid(frame)
    assert np.allclose(grid.world([-0.5] * 3), frame.grid.world([-0.5] * 3))
    last = np.array(grid.shape) - 0.5
    assert np.allclose(grid.world(last), frame.grid.world(np.array(frame.grid.shape) - 0.5))
    given = layers.bend_texture(frame, scene.warper)
    found = np.frombuffer(given, np.float16).reshape((3, *grid.shape), order="F")
    at = np.array([[11, 20, 13], [30, 8, 25]])
    p = grid.world(at)
    u = from_files.affine.inverse(from_files.transform(p)) - p
    along = u @ frame.grid.direction  # an orthogonal grid: its axes are unit vectors
    assert np.abs(along).max() > 0.2
    assert np.allclose(found[:, at[:, 0], at[:, 1], at[:, 2]].T, along, atol=0.01)


def test_a_large_image_gets_a_coarse_bend(scene) -> None:
    grid = scene.first.image.grid
    fine = grid.with_spacing(grid.spacing / 4)
    frame = Shown("fine", Image(np.empty(fine.shape, np.uint8), fine), (0, 1)).frame
    coarse = layers.bend_grid(frame)
    assert max(coarse.shape) == 96
    last = np.array(coarse.shape) - 0.5
    assert np.allclose(coarse.world(last), frame.grid.world(np.array(frame.grid.shape) - 0.5))
