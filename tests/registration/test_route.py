"""Chains of transforms: composed into one interpolation, in ANTs' order, both ways."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.io.convention import Between
from sacbnet.io.images import save_image
from sacbnet.io.series import load_series, save_series
from sacbnet.io.tools import save_transform
from sacbnet.io.transforms import save_affine, save_displacement
from sacbnet.registration.apply import Warper
from sacbnet.registration.given import load_transform_given, route_of
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

from .. import ants

GRID = Grid((18, 20, 22), np.diag([-1.5, -1.5, 1.5, 1.0]))
LPS = np.array([-1.0, -1.0, 1.0])


def turned() -> Affine:
    matrix = np.eye(4)
    matrix[:3] += np.random.default_rng(4).normal(size=(3, 4)) * 0.05
    return Affine(matrix)


def wavy() -> DisplacementField:
    def moved(p):
        q = (p - GRID.centre) / 6
        return p + np.stack([np.sin(q[..., 1]), np.cos(q[..., 2]), np.sin(q[..., 0])], -1)

    return DisplacementField.from_map(moved, GRID)


def data() -> Image:
    big = GRID.cropped([-4, -4, -4], np.array(GRID.shape) + 4)
    smooth = np.cumsum(np.random.default_rng(0).normal(size=big.shape), axis=0)
    return Image(smooth.astype(np.float32), big, "data")


def reference(grid: Grid = GRID) -> Image:
    return Image(np.zeros(grid.shape, np.uint8), grid)


@pytest.fixture
def files(tmp_path):
    save_affine(tmp_path / "a.mat", turned())
    save_displacement(tmp_path / "u.nii.gz", wavy())
    save_image(tmp_path / "data.nii.gz", data().data, data())
    save_image(tmp_path / "ref.nii.gz", np.random.default_rng(1).normal(size=GRID.shape), GRID)
    return tmp_path


def test_the_order_is_that_of_ants(files):
    for names in (["u.nii.gz", "a.mat"], ["a.mat", "u.nii.gz"]):
        paths = [files / name for name in names]
        found, _ = route_of(paths).image(data(), reference(), "linear", fill=-9.0)
        theirs = ants.moved_image(files / "ref.nii.gz", files / "data.nii.gz", paths, outside=-9.0)
        both = (found.data > -8.9) & (theirs > -8.9)
        assert both.mean() > 0.9
        # ANTs takes no displacement beyond the field's grid, and we that of its edge
        inside = wavy().grid.contains(
            turned()(GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1)))
            if names[0] == "a.mat"
            else GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1)),
            -0.01,
        )
        assert np.abs(found.data - theirs)[both & inside].max() < 2e-3


def test_one_interpolation(files):
    """A there and back again leaves the image as it was, which two interpolations would not."""
    both = route_of([files / "a.mat", f"{files / 'a.mat'},inverse"])
    found, filled = both.image(data(), reference(data().grid))
    assert np.abs(found.data - data().data).max() < 1e-4 and filled.voxels == 0
    again = route_of([f"{files / 'u.nii.gz'},inverse", files / "u.nii.gz"])
    found, _ = again.image(data(), reference())
    own = data().data[4:-4, 4:-4, 4:-4]
    middle = (slice(3, -3),) * 3
    assert np.abs(found.data - own)[middle].max() < 0.02 * np.ptp(own)


def test_points_travel_as_images_do(files):
    """A bright ball around a point of the data lands where the point lands."""
    at = GRID.centre + np.array([2.0, -3.0, 1.5])
    for names in (["u.nii.gz", "a.mat,inverse"], ["u.nii.gz,inverse", "a.mat"]):
        route = route_of([str(files / name) for name in names])
        world = data().grid.world(np.moveaxis(np.indices(data().grid.shape), 0, -1))
        ball = np.exp(-0.5 * (np.linalg.norm(world - at, axis=-1) / 3) ** 2)
        moved, _ = route.image(Image(ball.astype(np.float32), data().grid), reference(), fill=0.0)
        weight = moved.data.astype(float) ** 4
        centre = (GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1)) * weight[..., None]).sum(
            (0, 1, 2)
        ) / weight.sum()
        point, outside = route.points(Points(at[None]))
        assert outside == 0
        assert np.linalg.norm(centre - point.xyz[0]) < 0.3 < np.linalg.norm(centre - at)


def test_points_backwards_are_exact(files):
    p = GRID.world(np.random.default_rng(5).uniform(3, 14, (40, 3)))
    route = route_of([files / "u.nii.gz", files / "a.mat"])
    there = turned()(wavy()(p))
    found, outside = route.points(Points(there))
    assert outside == 0 and np.abs(found.xyz - p).max() < 1e-3
    # the same as ANTs with inverted transforms where it has an inverse: the affine
    alone, _ = route_of([files / "a.mat"]).points(Points(there))
    theirs = ants.moved_points(there, [files / "a.mat"])
    assert np.abs(turned()(alone.xyz) - there).max() < 1e-6
    assert np.abs(theirs - turned()(there)).max() < 1e-3
    far, outside = route.points(Points([[500.0, 0, 0], there[0].tolist()]))
    assert outside == 1 and np.isfinite(far.xyz).all()


def test_a_result_folder_is_a_transform(result, registered, pair):
    warper = Warper.of(result)
    route = route_of([result])
    ours, filled = route.image(pair.moving, reference(pair.fixed.grid))
    theirs, theirs_filled = warper.image_counted(pair.moving, "fixed")
    assert (ours.data == theirs.data).all() and filled == theirs_filled
    back, _ = route_of([f"{result},inverse"]).image(pair.fixed, reference(pair.moving.grid))
    assert (back.data == warper.image(pair.fixed, "moving").data).all()
    points, _ = route.points(Points(pair.true_map(pair.landmarks)))
    also, _ = warper.points(Points(pair.true_map(pair.landmarks)), "fixed")
    assert np.abs(points.xyz - also.xyz).max() < 1e-9
    # from moving to moving over fixed: back where it was
    round_trip = route_of([f"{result},inverse", result])
    found, _ = round_trip.image(pair.moving, reference(pair.moving.grid))
    inside = pair.moving_labels.data > 3
    assert np.abs(found.data - pair.moving.data)[inside].mean() < 0.05 * np.ptp(pair.moving.data)
    # as one value, with the grids that the folder knows
    transform, between = load_transform_given(f"{result},inverse", Between())
    assert between.fixed.matches(pair.moving.grid) and between.moving.matches(pair.fixed.grid)
    p = pair.true_map(pair.landmarks)
    assert np.abs(transform(p) - warper.inverse(p)).max() < 1e-3
    affine, _ = load_transform_given(str(result), Between(), affine_only=True)
    assert np.allclose(affine.matrix, registered.affine.matrix)


def test_what_reaches_beyond_is_said(files):
    wide = GRID.cropped([-8, 0, 0], GRID.shape)
    found, _ = route_of([files / "u.nii.gz"]).image(data(), reference(wide))
    (said,) = found.warnings
    assert "12 mm beyond the grid of" in said and "displacement of its edge" in said
    far = Affine.translation([900, 0, 0])
    with pytest.raises(InputError, match=r"nothing of data arrives.*9\d\d mm"):
        route_of([far]).image(data(), reference())
    with pytest.raises(InputError, match="no transform was given"):
        route_of([])


def test_fsl_in_a_chain_needs_its_images(files):
    save_transform(files / "f.mat", turned(), "fsl", Between(GRID, data().grid))
    ours, _ = route_of([files / "f.mat"], GRID, data().grid).image(data(), reference())
    theirs, _ = route_of([files / "a.mat"]).image(data(), reference())
    assert np.abs(ours.data - theirs.data).max() < 1e-3 * np.ptp(ours.data)
    turned_round = route_of([f"{files / 'f.mat'},inverse"], data().grid, GRID)
    p = GRID.centre[None]
    assert np.abs(turned_round.there(p) - turned().inverse(p)).max() < 1e-6
    with pytest.raises(InputError, match="sacbnet convert"):
        route_of([files / "f.mat", files / "a.mat"], GRID, data().grid)


# -- series ----------------------------------------------------------------------------------------
def test_a_series_is_carried_volume_by_volume(files, tmp_path):
    volumes = [data().data * n for n in (0, 1, 2, 3)]
    image = nib.Nifti1Image(np.stack(volumes, -1), data().grid.affine)
    image.header.set_zooms((1.5, 1.5, 1.5, 2.4))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "bold.nii.gz")
    series = load_series(tmp_path / "bold.nii.gz")
    assert len(series.volumes) == 4 and not series.single
    route = route_of([files / "u.nii.gz", files / "a.mat"])
    carried = route.series(series.volumes, reference(), "linear", 0.0)
    one, _ = route.image(data(), reference(), "linear", 0.0)
    for n, (volume, _) in enumerate(carried):
        assert np.abs(volume.data - n * one.data).max() < 1e-3 * np.ptp(one.data)
    save_series(tmp_path / "out.nii.gz", [v.data for v, _ in carried], reference(), series.header)
    written = nib.load(tmp_path / "out.nii.gz")
    assert written.shape == (*GRID.shape, 4)
    assert written.header.get_zooms()[3] == pytest.approx(2.4)
    assert written.header.get_xyzt_units() == ("mm", "sec")
    itk = sitk.ReadImage(str(tmp_path / "out.nii.gz"))
    assert itk.GetSize() == (*GRID.shape, 4)


@pytest.mark.parametrize(
    "shape, intent, words", [((1, 6), 1005, "tensors"), ((1, 3), 1007, "vectors"), ((3,), 1006, "")]
)
def test_what_turns_with_the_anatomy_is_refused(tmp_path, shape, intent, words):
    image = nib.Nifti1Image(np.zeros((6, 7, 8, *shape), np.float32), np.eye(4))
    image.header["intent_code"] = intent
    nib.save(image, tmp_path / "d.nii.gz")
    with pytest.raises(InputError, match=f"holds {words}.*directions would have to turn"):
        load_series(tmp_path / "d.nii.gz")
