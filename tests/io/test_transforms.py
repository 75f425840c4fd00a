"""Transforms: our files mean the same to SimpleITK and ANTs, and their files the same to us."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sacbnet.errors import GridError, InputError, OutputError
from sacbnet.io.images import load_image, save_image
from sacbnet.io.transforms import (
    load_affine,
    load_displacement,
    load_transform,
    save_affine,
    save_displacement,
)
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

from .. import ants

LPS = np.array([-1.0, -1.0, 1.0])
AFFINE = np.eye(4)
AFFINE[:3, :3] = Rotation.from_euler("xyz", [5, -10, 15], degrees=True).as_matrix() @ np.diag(
    [1.1, 0.9, 1.05]
)
AFFINE[:3, 3] = 3.5, -2.25, 7.125


def _field(grid: Grid) -> DisplacementField:
    """Smooth, and different along each axis, so that no exchange of axes or signs goes unseen."""

    def moved(p):
        q = (p - grid.centre) / 7
        u = [
            1 + np.sin(q[..., 1]),
            2 + 0.5 * np.cos(q[..., 2] + q[..., 0]),
            -3 + 0.7 * np.sin(q[..., 0]),
        ]
        return p + np.stack(u, -1)

    return DisplacementField.from_map(moved, grid)


def _inside(grid: Grid, n: int = 40) -> np.ndarray:
    """World points well inside the grid."""
    return grid.world(np.random.default_rng(3).uniform(0.5, np.array(grid.shape) - 1.5, (n, 3)))


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_simpleitk_uses_our_field_as_it_is(tmp_path, orthogonal_grid, extension):
    field, path = _field(orthogonal_grid), tmp_path / f"a{extension}"
    save_displacement(path, field)
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    points = _inside(orthogonal_grid)
    theirs = np.array([transform.TransformPoint((p * LPS).tolist()) for p in points]) * LPS
    assert np.abs(theirs - field(points)).max() < 2e-4
    again = load_displacement(path)
    assert again.grid.matches(orthogonal_grid, 1e-4)
    assert np.array_equal(again.displacement_mm, field.displacement_mm)


def test_the_nifti_is_a_vector_image(tmp_path, grids):
    save_displacement(tmp_path / "a.nii.gz", _field(grids["oblique"]))
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.shape == (9, 10, 11, 1, 3) and image.get_data_dtype() == np.float32
    assert int(image.header["intent_code"]) == 1007 and image.header.get_xyzt_units()[0] == "mm"


def test_same_bytes_again(tmp_path, grids, monkeypatch):
    save_displacement(tmp_path / "a.nii.gz", _field(grids["oblique"]))
    monkeypatch.setattr("time.time", lambda: 4e9)
    save_displacement(tmp_path / "b.nii.gz", _field(grids["oblique"]))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    for extension in (".mat", ".txt", ".tfm"):
        save_affine(tmp_path / f"a{extension}", Affine(AFFINE))
        save_affine(tmp_path / f"b{extension}", Affine(AFFINE))
        assert (tmp_path / f"a{extension}").read_bytes() == (
            tmp_path / f"b{extension}"
        ).read_bytes()


def test_sheared_grids_are_refused(tmp_path, grids):
    with pytest.raises(
        GridError, match=r"sheared, which ITK cannot hold; write the field on grid\.orthogonal\(\)"
    ):
        save_displacement(tmp_path / "a.nii", _field(grids["sheared"]))
    save_displacement(tmp_path / "a.nii", _field(grids["sheared"].orthogonal()))


@pytest.mark.parametrize("name", ["las", "oblique-flipped", "permuted"])
def test_ants_resamples_through_our_files(tmp_path, grids, name):
    """`antsApplyTransforms -t field -t affine`: points of the fixed image meet the field first."""
    grid = grids[name]
    big = Grid((24, 26, 28), grid.affine).cropped([-6, -6, -6], [22, 24, 26])
    index = np.stack(np.meshgrid(*map(np.arange, big.shape), indexing="ij"), -1)
    world = big.world(index)
    value = world @ [1.0, 2.0, -3.0] + 200  # linear in the world: linear interpolation is exact
    save_image(tmp_path / "moving.nii.gz", value, big)
    save_image(tmp_path / "fixed.nii.gz", np.random.default_rng(0).normal(size=grid.shape), grid)
    field = _field(grid)
    small = Affine(np.diag([1, 1, 1, 1.0]) + 0.02 * (AFFINE - np.eye(4)))
    save_displacement(tmp_path / "field.nii.gz", field)
    save_affine(tmp_path / "affine.mat", small)
    fixed, moving = tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz"
    files = [tmp_path / "field.nii.gz", tmp_path / "affine.mat"]
    moved = ants.moved_image(fixed, moving, files, outside=-1e6)
    points = grid.world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1))
    expected = small(field(points)) @ [1.0, 2.0, -3.0] + 200
    inside = big.contains(small(field(points)), margin_voxels=-0.01)
    assert inside.mean() > 0.5
    assert np.abs(moved - expected)[inside].max() < 5e-3


def test_ants_maps_points_as_we_do(tmp_path, grids):
    """ANTs maps points by the file itself, fixed -> moving: `-t file` is our `transform(point)`."""
    grid = grids["oblique-flipped"]
    field, points = _field(grid), _inside(grid)
    save_displacement(tmp_path / "field.nii.gz", field)
    save_affine(tmp_path / "affine.mat", Affine(AFFINE))
    for files, ours in (
        (["field.nii.gz"], field(points)),
        (["affine.mat"], Affine(AFFINE)(points)),
        (["field.nii.gz", "affine.mat"], Affine(AFFINE)(field(points))),
    ):
        theirs = ants.moved_points(points, [tmp_path / f for f in files])
        assert np.abs(theirs - ours).max() < 1e-3


def test_a_field_that_ants_wrote(tmp_path, grids):
    """ANTs composes our affine into a field of its own: read back, it is the same map."""
    grid = grids["oblique"]
    save_image(tmp_path / "fixed.nii.gz", np.random.default_rng(0).normal(size=grid.shape), grid)
    save_affine(tmp_path / "affine.mat", Affine(AFFINE))
    name = ants.composed_field(
        tmp_path / "fixed.nii.gz", [tmp_path / "affine.mat"], tmp_path / "composed.nii.gz"
    )
    field = load_displacement(name)
    assert field.grid.matches(grid, 1e-4)
    points = _inside(grid)
    assert np.abs(field(points) - Affine(AFFINE)(points)).max() < 1e-3


def test_fields_that_itk_would_read_otherwise_are_refused(tmp_path):
    data = np.random.default_rng(0).normal(size=(5, 6, 7, 1, 3)).astype(np.float32)
    for change, words in (
        (lambda im: im.header.set_intent(1006), "has the intent code 1006"),
        (lambda im: im.header.set_intent(0), "has the intent code 0"),
        (lambda im: im.header.set_intent(1007, name="Mapping"), "deformation of SPM"),
    ):
        image = nib.Nifti1Image(data, np.eye(4))
        change(image)
        nib.save(image, tmp_path / "a.nii")
        with pytest.raises(InputError, match=words):
            load_displacement(tmp_path / "a.nii")
    nib.save(nib.Nifti1Image(data[:, :, :, 0], np.eye(4)), tmp_path / "b.nii")
    with pytest.raises(
        InputError, match=r"has shape \(5, 6, 7, 3\); a displacement field has \(i, j, k, 1, 3\)"
    ):
        load_displacement(tmp_path / "b.nii")
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    image = nib.Nifti1Image(data, sheared)
    image.header.set_intent(1007)
    nib.save(image, tmp_path / "c.nii")
    with pytest.raises(GridError, match="sheared or singular"):
        load_displacement(tmp_path / "c.nii")
    data[0, 0, 0, 0, 0] = np.nan
    image = nib.Nifti1Image(data, np.eye(4))
    image.header.set_intent(1007)
    nib.save(image, tmp_path / "d.nii")
    with pytest.raises(InputError, match=r"d\.nii: .*NaN"):
        load_displacement(tmp_path / "d.nii")
    sitk.WriteImage(sitk.Image(4, 5, 6, sitk.sitkFloat32), str(tmp_path / "e.nrrd"))
    with pytest.raises(InputError, match="holds 1 values a voxel in 3-D"):
        load_displacement(tmp_path / "e.nrrd")


def test_a_field_lies_where_itk_places_it(tmp_path, grids):
    """Where sform and qform differ, a transform file means what ITK reads (contract 2)."""
    grid = grids["oblique"]
    save_displacement(tmp_path / "a.nii", _field(grid))
    image = nib.load(tmp_path / "a.nii")
    image.set_sform(np.diag([2.0, 1, 1, 1]), 2)
    nib.save(image, tmp_path / "b.nii")
    assert load_displacement(tmp_path / "b.nii").grid.matches(grid, 1e-3)


# -- affines ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("extension", [".mat", ".txt", ".tfm"])
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.lists(st.floats(-0.3, 0.3), min_size=9, max_size=9),
    shift=st.lists(st.floats(-300, 300), min_size=3, max_size=3),
)
def test_affine_round_trip_and_simpleitk(tmp_path, extension, values, shift):
    matrix = np.eye(4)
    matrix[:3, :3] += np.reshape(values, (3, 3))
    matrix[:3, 3] = shift
    path = tmp_path / f"a{extension}"
    save_affine(path, Affine(matrix))
    assert np.allclose(load_affine(path).matrix, matrix, atol=1e-12)
    transform = sitk.ReadTransform(str(path))
    assert transform.GetName() == "AffineTransform"
    for point in np.random.default_rng(0).uniform(-100, 100, (5, 3)):
        theirs = np.array(transform.TransformPoint((point * LPS).tolist())) * LPS
        assert np.allclose(theirs, Affine(matrix)(point), atol=1e-9)


def _linear() -> dict[str, sitk.Transform]:
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((AFFINE[:3, :3]).ravel().tolist())
    affine.SetCenter((10, 20, 30))
    affine.SetTranslation((1, 2, 3))
    euler = sitk.Euler3DTransform((5, 6, 7), 0.1, -0.2, 0.3, (4, 5, 6))
    versor = sitk.VersorRigid3DTransform((0.1, 0.2, 0.3), 0.5, (1, 2, 3))
    versor.SetCenter((-9, 8, 7))
    similarity = sitk.Similarity3DTransform(1.3, (0, 0, 1), 0.4, (3, 2, 1), (9, 9, 9))
    translation = sitk.TranslationTransform(3, (1.5, -2.5, 3.5))
    return {
        "affine": affine,
        "euler": euler,
        "versor": versor,
        "similarity": similarity,
        "translation": translation,
        "composite": sitk.CompositeTransform([euler, translation, affine]),
    }


@pytest.mark.parametrize("kind", list(_linear()))
@pytest.mark.parametrize("extension", [".tfm", ".txt", ".mat", ".h5"])
def test_every_linear_transform_of_itk(tmp_path, kind, extension):
    transform, path = _linear()[kind], tmp_path / f"a{extension}"
    if kind == "composite" and extension == ".mat":
        pytest.skip("ITK writes no composite .mat")
    sitk.WriteTransform(transform, str(path))
    ours = load_transform(path)
    assert isinstance(ours, Affine)
    for point in np.random.default_rng(0).uniform(-100, 100, (5, 3)):
        assert np.allclose(
            ours(point), np.array(transform.TransformPoint((point * LPS).tolist())) * LPS, atol=1e-9
        )


def test_the_name_that_old_ants_gives_its_affines(tmp_path):
    (tmp_path / "a.txt").write_text(
        "#Insight Transform File V1.0\n#Transform 0\n"
        "Transform: MatrixOffsetTransformBase_double_3_3\n"
        "Parameters: 1 0 0 0 2 0 0 0 1 4 5 6\nFixedParameters: 0 10 0\n"
    )
    # y' = 2 (y - 10) + 10 + 5 in LPS
    assert np.allclose(load_affine(tmp_path / "a.txt")(np.zeros(3)), [-4, 5, 6])


def test_an_affine_that_ants_wrote(tmp_path, grids):
    path = tmp_path / "0GenericAffine.mat"
    written = ants.write_affine(path, AFFINE[:3, :3], centre=(10, 20, 30), shift=(1, 2, 3))
    point = np.array([12.0, -34.0, 56.0])
    theirs = written(point * LPS) * LPS
    assert np.allclose(load_affine(tmp_path / "0GenericAffine.mat")(point), theirs, atol=1e-5)


def test_affines_that_cannot_be_used(tmp_path):
    np.savetxt(tmp_path / "fsl.mat", np.eye(4))
    sitk.WriteTransform(sitk.AffineTransform(2), str(tmp_path / "flat.tfm"))
    sitk.WriteTransform(sitk.BSplineTransform(3), str(tmp_path / "spline.tfm"))
    singular = sitk.AffineTransform(3)
    singular.SetParameters([1, 0, 0, 0, 1, 0, 0, 0, 1e-9, 0, 0, 0])
    sitk.WriteTransform(singular, str(tmp_path / "singular.tfm"))
    (tmp_path / "a.lta").write_text("type = 1\n")
    (tmp_path / "empty.mat").touch()
    (tmp_path / "text.txt").write_text("hello")
    for name, words in (
        ("fsl.mat", "FSL's scaled voxels.*give --fixed and --moving"),
        ("flat.tfm", "is a 2-D transform"),
        ("spline.tfm", "sampled on the fixed image; give --fixed"),
        ("singular.tfm", r"singular\.tfm: the affine transform is singular"),
        ("a.lta", "no LTA of FreeSurfer.*lta_convert"),
        ("empty.mat", r"is empty \(0 bytes\)"),
        ("text.txt", "not a transform that ITK reads"),
        ("nowhere.mat", "does not exist"),
        (".", "is a folder"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            load_transform(tmp_path / name)
        assert "\n" not in str(caught.value)
    for save, value in (
        (save_affine, Affine()),
        (save_displacement, _field(Grid((3, 3, 3), np.eye(4)))),
    ):
        with pytest.raises(OutputError, match="is no name for"):
            save(tmp_path / "a.xyz", value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
def test_load_transform_tells_fields_by_content(tmp_path, grids, name):
    save_displacement(tmp_path / name, _field(grids["las"]))
    assert isinstance(load_transform(tmp_path / name), DisplacementField)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        load_transform(tmp_path / name)


def test_moved_and_field_share_their_grid(tmp_path, grids, volume):
    """The moved image and the transform of one run reload on one and the same grid."""
    grid = grids["oblique-flipped"]
    save_image(tmp_path / "moved.nii.gz", volume, grid)
    save_displacement(tmp_path / "field.nii.gz", _field(grid))
    assert (
        load_image(tmp_path / "moved.nii.gz").grid
        == load_displacement(tmp_path / "field.nii.gz").grid
    )
