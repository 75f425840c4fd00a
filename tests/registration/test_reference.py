"""A reference is a grid: what its voxels hold does not matter."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from sacbnet.errors import InputError
from sacbnet.io.images import load_image, load_reference
from sacbnet.registration.affine.information import Information
from sacbnet.registration.apply import Warper
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import DisplacementField

SHAPE, AFFINE = (9, 10, 8), np.diag([2.0, 2.0, 2.0, 1.0])
NOISE = np.random.default_rng(0).random((*SHAPE, 3)).astype(np.float32)
VALUES = {
    "image": NOISE[..., 0],
    "zeros": np.zeros(SHAPE, np.uint8),
    "ones": np.ones(SHAPE, np.uint8),
    "nan": np.full(SHAPE, np.nan, np.float32),
    "series": NOISE,
    "field": NOISE[:, :, :, None],
    "complex": NOISE[..., 0].astype(np.complex64),
    "colours": np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]),
}


@pytest.mark.parametrize("what", VALUES)
def test_only_the_grid_counts(tmp_path, what):
    nib.save(nib.Nifti1Image(VALUES[what], AFFINE), tmp_path / "r.nii")
    for source in (tmp_path / "r.nii", nib.load(tmp_path / "r.nii"), (VALUES[what], AFFINE)):
        assert load_reference(source).grid.matches(Grid(SHAPE, AFFINE))
    moving = Grid((20, 20, 20), np.eye(4))
    zero = DisplacementField(moving, np.zeros((20, 20, 20, 3), np.float32))
    image = (np.random.default_rng(1).random((20, 20, 20)), np.eye(4))
    warper = Warper(zero, zero, moving, moving)
    found = warper.image(image, "fixed", reference=tmp_path / "r.nii")
    nib.save(nib.Nifti1Image(VALUES["image"], AFFINE), tmp_path / "usual.nii")
    expected = warper.image(image, "fixed", reference=tmp_path / "usual.nii")
    assert np.array_equal(found.data, expected.data) and found.data.shape == SHAPE


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_formats_of_itk(tmp_path, suffix):
    for volumes, vector in ((1, False), (3, False), (3, True)):
        data = np.zeros((*((volumes,) if not vector else ()), 8, 10, 9, *((3,) if vector else ())))
        image = sitk.GetImageFromArray(data.astype(np.float32), isVector=vector)
        image.SetSpacing([2.0] * image.GetDimension())
        sitk.WriteImage(image, str(tmp_path / f"r{suffix}"))
        grid = load_reference(tmp_path / f"r{suffix}").grid
        assert grid.shape == SHAPE and np.allclose(grid.spacing, 2)


def test_what_has_no_grid_is_still_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((9, 10), np.uint8), AFFINE), tmp_path / "flat.nii")
    (tmp_path / "a.nii").write_bytes(b"nothing")
    for name, words in (("flat.nii", "2-D"), ("a.nii", "cannot be read"), ("b.nii", "not exist")):
        with pytest.raises(InputError, match=words):
            load_reference(tmp_path / name)
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE), tmp_path / "zeros.nii")
    with pytest.raises(InputError, match="constant"):
        load_image(tmp_path / "zeros.nii")  # an image still needs contrast


def test_a_pose_that_is_not_finite_scores_nothing():
    from sacbnet.registration.affine.lattice import pyramid
    from sacbnet.registration.prepare import Layer

    layer = Layer(NOISE[..., 0], Grid(SHAPE, AFFINE), None)
    (lattice,) = pyramid(layer, [2.0])
    information = Information(lattice, lattice, 500, 8)
    assert information(np.eye(4)) > 0
    for value in (np.nan, np.inf):
        matrix = np.eye(4)
        matrix[0, 0] = value
        assert information.glance(matrix) == 0
        score, gradient = information.with_gradient(matrix)
        assert score == 0 and not gradient.any()
