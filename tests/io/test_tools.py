"""Transforms of other tools: read and written as SimpleITK, ANTs and nitransforms mean them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from sacbnet.errors import InputError, OutputError
from sacbnet.io.convention import Between
from sacbnet.io.tools import format_of, save_transform, tools
from sacbnet.io.transforms import is_transform, load_affine, load_transform, save_displacement
from sacbnet.spatial.composition import composed, densely
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, Chain, DisplacementField

from .. import ants

LPS = np.array([-1.0, -1.0, 1.0])
NEAR = 1e-3  # mm


def affine() -> Affine:
    matrix = np.eye(4)
    turn = Rotation.from_euler("xyz", [5, -10, 15], degrees=True).as_matrix()
    matrix[:3, :3] = turn @ np.diag([1.1, 0.9, 1.05])
    matrix[:3, 3] = 3.5, -2.25, 7.125
    return Affine(matrix)


def field(grid: Grid) -> DisplacementField:
    """Smooth, and different along each axis."""

    def moved(p):
        q = (p - grid.centre) / 7
        u = [1 + np.sin(q[..., 1]), 2 + 0.5 * np.cos(q[..., 2]), -3 + 0.7 * np.sin(q[..., 0])]
        return p + np.stack(u, -1)

    return DisplacementField.from_map(moved, grid)


def inside(grid: Grid, n: int = 30) -> np.ndarray:
    return grid.world(np.random.default_rng(3).uniform(0.5, np.array(grid.shape) - 1.5, (n, 3)))


def moving_grid(grids) -> Grid:
    return grids["oblique-flipped"].cropped([-2, 1, 0], [7, 12, 9])


def written(folder, name, grid: Grid):
    """An image of a grid, as nitransforms wants it."""
    nib.save(nib.Nifti1Image(np.zeros(grid.shape, np.uint8), grid.affine), folder / name)
    return nib.load(folder / name)


LINEAR = {
    "itk": (".tfm", ".txt", ".mat"),
    "ants": (".mat",),
    "slicer": (".tfm", ".h5"),
    "itk-h5": (".h5",),
    "fsl": (".mat",),
    "lta": (".lta",),
    "afni": (".aff12.1D",),
}
DENSE = {
    "itk": (".nii.gz", ".nrrd", ".mha"),
    "ants": (".nii.gz",),
    "slicer": (".h5", ".nrrd"),
    "itk-h5": (".h5",),
    "fsl": (".nii.gz",),
}


def test_the_words_of_convert():
    assert tools() == ("afni", "ants", "fsl", "itk", "itk-h5", "lta", "slicer")


@pytest.mark.parametrize("tool, end", [(t, e) for t, ends in LINEAR.items() for e in ends])
def test_an_affine_there_and_back(tmp_path, grids, tool, end):
    for fixed, moving in (("las", "permuted"), ("oblique", "oblique-flipped")):
        between = Between(grids[fixed], grids[moving])
        save_transform(tmp_path / f"a{end}", affine(), tool, between)
        found = load_transform(tmp_path / f"a{end}", between)
        assert isinstance(found, Affine)
        assert np.abs(found.matrix - affine().matrix).max() < 1e-9
        if tool in ("itk", "ants", "slicer", "itk-h5"):
            break  # the images do not matter


@pytest.mark.parametrize("tool, end", [(t, e) for t, ends in DENSE.items() for e in ends])
def test_a_field_there_and_back(tmp_path, grids, tool, end):
    fixed, moving = grids["oblique"], moving_grid(grids)
    between, points = Between(fixed, moving), inside(fixed)
    save_transform(tmp_path / f"a{end}", field(fixed), tool, between)
    found = load_transform(tmp_path / f"a{end}", between)
    assert isinstance(found, DisplacementField) and found.grid.matches(fixed, 1e-3)
    assert np.abs(found(points) - field(fixed)(points)).max() < NEAR
    assert is_transform(tmp_path / f"a{end}")
    assert tool in format_of(tmp_path / f"a{end}").tools


# -- nitransforms ----------------------------------------------------------------------------------
def linear_of(kind: str):
    io = pytest.importorskip("nitransforms.io")
    return {
        "fsl": (io.fsl.FSLLinearTransform, ".mat"),
        "lta": (io.lta.FSLinearTransform, ".lta"),
        "afni": (io.afni.AFNILinearTransform, ".aff12.1D"),
    }[kind]


@pytest.mark.parametrize("kind", ["fsl", "lta", "afni"])
@pytest.mark.parametrize("fixed", ["las", "identity", "permuted", "oblique-flipped"])
def test_nitransforms_reads_and_writes_the_same_matrix(tmp_path, grids, kind, fixed):
    theirs, end = linear_of(kind)
    ours = Between(grids[fixed], grids["oblique"])
    f = written(tmp_path, "f.nii.gz", ours.fixed)
    m = written(tmp_path, "m.nii.gz", ours.moving)
    points = inside(ours.fixed)
    save_transform(tmp_path / f"a{end}", affine(), kind, ours)
    read = Affine(theirs.from_filename(tmp_path / f"a{end}").to_ras(moving=m, reference=f))
    assert np.abs(read(points) - affine()(points)).max() < NEAR
    # theirs, read by us; their LTA gives the images the other way round
    swapped = Between(ours.moving, ours.fixed) if kind == "lta" else ours
    made = theirs.from_ras(affine().matrix, moving=m, reference=f)
    (tmp_path / f"b{end}").write_text(made.to_string())
    if kind == "lta":
        with pytest.raises(InputError, match="moving to fixed was expected"):
            load_transform(tmp_path / f"b{end}", ours)
    found = load_transform(tmp_path / f"b{end}", swapped)
    assert np.abs(found(points) - affine()(points)).max() < 5 * NEAR  # they write few digits


def test_an_lta_between_voxels(tmp_path, grids):
    fixed, moving = grids["oblique"], grids["permuted"]
    save_transform(tmp_path / "a.lta", affine(), "lta", Between(fixed, moving))
    text = (tmp_path / "a.lta").read_text()
    voxels = fixed.inverse_affine @ affine().inverse.matrix @ moving.affine
    lines = text.splitlines()
    at = lines.index("1 4 4")
    lines[0] = "type      = 0"
    lines[at + 1 : at + 5] = [" ".join(f"{x:.15e}" for x in row) for row in voxels]
    (tmp_path / "b.lta").write_text("\n".join(lines))
    assert np.abs(load_affine(tmp_path / "b.lta").matrix - affine().matrix).max() < 1e-6
    without = "\n".join(lines).replace("valid = 1", "valid = 0")
    (tmp_path / "c.lta").write_text(without)
    with pytest.raises(InputError, match="voxels to voxels"):
        load_transform(tmp_path / "c.lta")
    found = load_transform(tmp_path / "c.lta", Between(fixed, moving))
    assert np.abs(found.matrix - affine().matrix).max() < 1e-6


def test_a_field_of_fnirt_as_nitransforms_reads_it(tmp_path, grids):
    """nitransforms mirrors the first component, which is right for right-handed upright images."""
    io = pytest.importorskip("nitransforms.io")
    grid = grids["identity"]
    between, u = Between(grid, grid), field(grid).displacement_mm
    save_transform(tmp_path / "a.nii.gz", field(grid), "fsl", between)
    theirs = io.fsl.FSLDisplacementsField.from_image(nib.load(tmp_path / "a.nii.gz"))
    assert np.abs(theirs.get_fdata() - u).max() < NEAR
    made = io.fsl.FSLDisplacementsField.to_image(nib.Nifti1Image(u.copy(), grid.affine))
    made.header["intent_code"] = 2006
    nib.save(made, tmp_path / "b.nii.gz")
    assert np.abs(load_transform(tmp_path / "b.nii.gz", between).displacement_mm - u).max() < NEAR


def test_a_field_of_afni_as_nitransforms_reads_it(tmp_path, grids):
    io = pytest.importorskip("nitransforms.io")
    grid = grids["las"]
    save_transform(tmp_path / "a.nii.gz", field(grid), "afni", Between(grid, grid))
    theirs = io.afni.AFNIDisplacementsField.from_image(nib.load(tmp_path / "a.nii.gz"))
    assert np.abs(theirs.get_fdata() - field(grid).displacement_mm).max() < NEAR
    with pytest.raises(InputError, match="is oblique"):
        save_transform(tmp_path / "b.nii.gz", field(grid), "afni", Between(grid, grids["oblique"]))


# -- ITK -------------------------------------------------------------------------------------------
def test_simpleitk_reads_our_composite_and_we_its(tmp_path, grids):
    grid = grids["oblique"]
    points = inside(grid)
    both = composed(affine(), field(grid))
    save_transform(tmp_path / "a.h5", both, "itk-h5")
    theirs = sitk.ReadTransform(str(tmp_path / "a.h5"))
    assert theirs.GetName() == "CompositeTransform"
    moved = np.array([theirs.TransformPoint((p * LPS).tolist()) for p in points]) * LPS
    assert np.abs(moved - both(points)).max() < NEAR
    found = load_transform(tmp_path / "a.h5")
    assert isinstance(found, Chain) and len(found.maps) == 2
    assert np.abs(found(points) - both(points)).max() < NEAR
    with pytest.raises(InputError, match="is not linear"):
        load_affine(tmp_path / "a.h5")
    # 3D Slicer gets one field, on the fixed image
    save_transform(tmp_path / "b.h5", both, "slicer", Between(grid))
    assert sitk.ReadTransform(str(tmp_path / "b.h5")).GetName() == "DisplacementFieldTransform"


@pytest.mark.parametrize("end", [".h5", ".tfm"])
def test_splines_are_sampled_on_the_fixed_image(tmp_path, grids, end):
    grid = grids["las"]
    like = sitk.Image([12, 12, 12], sitk.sitkUInt8)
    corner = grid.corners.min(axis=0) - 5, grid.corners.max(axis=0) + 5
    like.SetSpacing(((corner[1] - corner[0]) / 11).tolist())
    like.SetOrigin(np.minimum(*(c * LPS for c in corner)).tolist())
    spline = sitk.BSplineTransformInitializer(like, [4, 4, 4])
    values = np.random.default_rng(0).normal(size=len(spline.GetParameters()))
    spline.SetParameters(values.tolist())
    sitk.WriteTransform(spline, str(tmp_path / f"a{end}"))
    with pytest.raises(InputError, match=r"holds a BSplineTransform.*give --fixed"):
        load_transform(tmp_path / f"a{end}")
    found = load_transform(tmp_path / f"a{end}", Between(grid))
    voxels = grid.world(np.argwhere(np.ones(grid.shape))[::37])
    theirs = np.array([spline.TransformPoint((p * LPS).tolist()) for p in voxels]) * LPS
    assert np.abs(theirs - voxels).max() > 0.5
    assert np.abs(found(voxels) - theirs).max() < NEAR


def test_ants_uses_what_is_written_for_it(tmp_path, grids):
    grid = grids["oblique-flipped"]
    points = inside(grid)
    both = composed(affine(), field(grid))
    save_transform(tmp_path / "a.nii.gz", both, "ants", Between(grid))
    save_transform(tmp_path / "a.mat", affine(), "ants")
    dense = densely(both, grid)
    assert np.abs(ants.moved_points(points, [tmp_path / "a.nii.gz"]) - dense(points)).max() < NEAR
    assert np.abs(ants.moved_points(points, [tmp_path / "a.mat"]) - affine()(points)).max() < NEAR


# -- refusals --------------------------------------------------------------------------------------
def test_what_cannot_be_written_is_said(tmp_path, grids):
    grid = grids["las"]
    for name, transform, tool, kind, words in (
        ("a.lta", field(grid), "lta", InputError, "deformable, which the format lta cannot hold"),
        ("a.nii", affine(), "itk", OutputError, r"no name for an affine of itk; .*\.tfm"),
        ("a.mat", affine(), "fsl", InputError, "give --fixed and --moving"),
        ("a.mat", affine(), "spm", InputError, "'spm' is no tool; one of afni, ants"),
        ("a.mha", composed(field(grid), affine()), "itk", InputError, "give --fixed"),
    ):
        with pytest.raises(kind, match=words):
            save_transform(tmp_path / name, transform, tool)
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_said(tmp_path, grids):
    between = Between(grids["las"], grids["las"])
    save_displacement(tmp_path / "u.nii", field(grids["las"]))
    save_transform(tmp_path / "a.h5", field(grids["las"]), "itk-h5")
    whole = (tmp_path / "a.h5").read_bytes()
    coefficients = nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.float32), np.eye(4))
    coefficients.header["intent_code"] = 2009
    nib.save(coefficients, tmp_path / "coef.nii.gz")
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a.lta").write_text("type = 1\nnxforms = 1\n1 4 4\n1 0 0 0\n")
    (tmp_path / "a.aff12.1D").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n" * 2)
    (tmp_path / "flat.mat").write_text("0 0 0 0\n" * 3 + "0 0 0 1\n")
    for name, words in (
        ("coef.nii.gz", "coefficients of FNIRT.*fnirtfileutils"),
        ("cut.h5", "damaged"),
        ("a.lta", "no LTA of FreeSurfer"),
        ("a.aff12.1D", "holds 24 numbers"),
        ("flat.mat", "singular"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            load_transform(tmp_path / name, between)
        assert str(tmp_path / name) in str(caught.value) and len(str(caught.value)) < 300
