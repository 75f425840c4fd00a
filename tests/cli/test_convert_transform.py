"""sacbnet convert, and apply and info with transforms of other tools."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from sacbnet.imaging.points import Points
from sacbnet.io.images import load_image, save_image
from sacbnet.io.points import load_points, save_points
from sacbnet.io.transforms import load_affine, load_transform
from sacbnet.registration.apply import Warper

LPS = np.array([-1.0, -1.0, 1.0])


def test_a_result_for_every_tool_and_back(sacbnet, result, files, pair, tmp_path) -> None:
    images = (f"--fixed={files['fixed']}", f"--moving={files['moving']}")
    warper = Warper.of(result)
    points = pair.landmarks
    for to, name in (
        ("itk", "a.nrrd"),
        ("ants", "a.nii.gz"),
        ("itk-h5", "a.h5"),
        ("slicer", "b.h5"),
        ("fsl", "f.nii.gz"),
    ):
        done = sacbnet("convert", result, f"--to={to}", f"--out={tmp_path / name}")
        assert done.code == 0 and done.out.startswith(f"written: {tmp_path / name}"), done.err
        itk = tmp_path / f"{name}.back.nii.gz"
        assert sacbnet("convert", tmp_path / name, "--to=itk", *images, f"--out={itk}").code == 0
        assert np.abs(load_transform(itk)(points) - warper.transform(points)).max() < 2e-3, to
    for to, name in (("fsl", "a.mat"), ("lta", "a.lta"), ("afni", "a.aff12.1D"), ("ants", "b.mat")):
        out = f"--out={tmp_path / name}"
        assert sacbnet("convert", result, f"--to={to}", "--affine-only", out).code == 0
        back = tmp_path / f"{name}.tfm"
        done = sacbnet("convert", tmp_path / name, "--to=itk", *images, f"--out={back}", "-q")
        assert (done.code, done.out) == (0, "")
        assert np.allclose(load_affine(back).matrix, warper.affine.matrix, atol=1e-6)
    # the inverse, and a field that SimpleITK takes as it is
    done = sacbnet("convert", f"{result},inverse", "--to=itk", f"--out={tmp_path / 'i.mha'}")
    assert done.code == 0
    field = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(tmp_path / "i.mha"), sitk.sitkVectorFloat64)
    )
    moving = pair.true_map(points)
    theirs = np.array([field.TransformPoint((p * LPS).tolist()) for p in moving]) * LPS
    assert np.abs(theirs - warper.inverse(moving)).max() < 2e-3


def test_convert_refuses(sacbnet, result, files, tmp_path) -> None:
    for code, words, arguments in (
        (3, "cannot hold; choose another --to, or --affine-only", (result, "--to=lta", "a.lta")),
        (5, "no name for a deformable transform of itk", (result, "--to=itk", "a.tfm")),
        (3, "does not exist", ("nowhere.mat", "--to=itk", "a.tfm")),
        (3, "no result folder, which --affine-only needs", ("x.mat", "--to=itk", "a.tfm")),
        (5, "transform.nii.gz", (result, "--to=itk", f"{result}/transform.nii.gz")),
    ):
        source, to, out = arguments
        more = ["--affine-only"] if source == "x.mat" else []
        done = sacbnet(
            "convert", source, to, f"--out={out if '/' in out else tmp_path / out}", *more
        )
        assert done.code == code and words in done.sentence()
    assert not list(tmp_path.iterdir())
    done = sacbnet("convert", result, "--to=spm", f"--out={tmp_path / 'a'}")
    assert done.code == 2 and "--to" in done.sentence()


def test_apply_a_chain(sacbnet, result, files, registered, pair, tmp_path) -> None:
    sacbnet("convert", result, "--to=itk-h5", f"--out={tmp_path / 't.h5'}")
    turn = f"--transform={result / 'affine.mat'}"
    chain = (turn, f"{turn},inverse", f"--transform={tmp_path / 't.h5'}")
    onto = f"--reference={files['fixed']}"
    out = tmp_path / "a.nii.gz"
    done = sacbnet("apply", *chain, onto, f"--image={files['moving']}", f"--out={out}")
    assert done.code == 0 and done.out == f"written: {out}\n"
    assert np.abs(load_image(out).data - registered.moved.data).max() < 2e-3 * np.ptp(
        pair.moving.data
    )
    out = tmp_path / "l.nii.gz"
    done = sacbnet("apply", *chain, onto, f"--labels={files['moving_labels']}", f"--out={out}")
    assert done.code == 0
    assert (load_image(out, "labels").data != registered.moved_labels.data).mean() < 2e-3
    save_points(tmp_path / "p.csv", Points(pair.true_map(pair.landmarks)))
    out = tmp_path / "q.csv"
    done = sacbnet("apply", *chain, f"--points={tmp_path / 'p.csv'}", f"--out={out}")
    assert done.code == 0
    error = np.linalg.norm(load_points(out).xyz - pair.landmarks, axis=1)
    assert error.mean() < 0.8


@pytest.mark.parametrize("way", ["nearest", "cubic", "lanczos"])
def test_apply_interpolates_as_asked(sacbnet, result, files, registered, tmp_path, way) -> None:
    out = tmp_path / "a.nii.gz"
    source = "--labels" if way == "nearest" else "--image"
    name = files["moving_labels" if way == "nearest" else "moving"]
    rest = (f"{source}={name}", f"--interpolation={way}", f"--out={out}", "--onto=fixed")
    assert sacbnet("apply", result, *rest).code == 0
    if way == "nearest":
        return
    found, linear = load_image(out).data, registered.moved.data
    assert not np.array_equal(found, linear)
    assert np.corrcoef(found.ravel(), linear.ravel())[0, 1] > 0.98


def test_apply_a_series_by_a_result(sacbnet, result, registered, pair, tmp_path) -> None:
    data = np.stack([pair.moving.data, 2 * pair.moving.data], -1)
    nib.save(nib.Nifti1Image(data, pair.moving.grid.affine), tmp_path / "s.nii.gz")
    out = tmp_path / "a.nii.gz"
    done = sacbnet(
        "apply", result, f"--image={tmp_path / 's.nii.gz'}", "--onto=fixed", f"--out={out}"
    )
    assert done.code == 0
    found = nib.load(out).get_fdata()
    assert np.abs(found[..., 0] - registered.moved.data).max() < 1e-2 * np.ptp(data)
    assert np.abs(found[..., 1] - 2 * found[..., 0]).max() < 1e-2 * np.ptp(data)
    done = sacbnet(
        "apply", result, f"--image={tmp_path / 's.nii.gz'}", "--onto=fixed", "--out=a.nrrd"
    )
    assert done.code == 5 and "no name for 2 volumes" in done.sentence()


def test_apply_refuses_what_does_not_stand_together(sacbnet) -> None:
    t, i, out = "--transform=a.mat", "--image=c", "--out=b"
    for words, arguments in (
        ("give a result folder", (i, out)),
        ("give a result folder", ("a", "--onto=fixed", t, i, out)),
        ("--onto is missing", ("a", i, out)),
        ("--onto belongs to a result folder", (t, "--onto=fixed", i, out)),
        ("--reference is missing", (t, i, out)),
        ("images take one of linear", ("a", "--onto=fixed", i, "--interpolation=onehot", out)),
        ("labels take one of", ("a", "--onto=fixed", "--labels=c", "--interpolation=cubic", out)),
        ("points need none", ("a", "--onto=fixed", "--points=c", "--interpolation=cubic", out)),
    ):
        done = sacbnet("apply", *arguments)
        assert done.code == 2 and words in done.sentence()


def test_info_says_direction_unit_and_frame(sacbnet, result, tmp_path) -> None:
    for to, name, words in (
        (
            "fsl",
            "a.mat",
            ("points of moving -> points of fixed", "FSL's scaled voxels", "--fixed F"),
        ),
        ("lta", "a.lta", ("(src)", "RAS of the scanner", "affine transform")),
        ("afni", "a.aff12.1D", ("(base) -> points of moving", "LPS (DICOM order)")),
        ("ants", "b.mat", ("points of fixed -> points of moving", "LPS (ITK)", "mm")),
    ):
        out = tmp_path / name
        sacbnet("convert", result, f"--to={to}", "--affine-only", f"--out={out}")
        told = " ".join(sacbnet("info", out).out.split())
        assert all(word in told for word in words), told
    both = tmp_path / "c.h5"
    affine = sitk.ReadTransform(str(result / "affine.mat"))
    image = sitk.ReadImage(str(result / "transform.nii.gz"), sitk.sitkVectorFloat64)
    field = sitk.DisplacementFieldTransform(image)
    sitk.WriteTransform(sitk.CompositeTransform([affine, field]), str(both))
    told = " ".join(sacbnet("info", both).out.split())
    assert "transform of several parts" in told
    assert told.index("displacement field") < told.index("affine (RAS")
    image = load_image(result / "moved.nii.gz")
    save_image(tmp_path / "i.nii.gz", image.data, image)
    assert sacbnet("info", tmp_path / "i.nii.gz").out.splitlines()[0].split() == [
        "kind",
        "│",
        "image",
    ]


def test_apply_a_surface(sacbnet, result, pair, tmp_path) -> None:
    """A mesh without a stated frame: --frame says it, and a stated one is not contradicted."""
    moving = pair.true_map(pair.landmarks)[:3]
    numbers = "\n".join(" ".join(f"{x:.6f}" for x in row) for row in moving)
    for title, frame, code in (
        ("no frame", ("--frame=RAS",), 0),
        ("SPACE=RAS", (), 0),
        ("SPACE=RAS", ("--frame=LPS",), 3),
        ("no frame", (), 0),
    ):
        mesh = tmp_path / "m.vtk"
        mesh.write_text(
            f"# vtk DataFile Version 4.2\n{title}\nASCII\nDATASET POLYDATA\nPOINTS 3 float\n"
            f"{numbers}\nPOLYGONS 1 4\n3 0 1 2\n"
        )
        out = tmp_path / "o.vtk"
        done = sacbnet("apply", result, f"--points={mesh}", "--onto=fixed", f"--out={out}", *frame)
        assert done.code == code, done.err
        if code:
            assert "states the frame RAS" in done.sentence()
            continue
        if title == "no frame" and not frame:
            assert "states no frame" in done.err
            continue
        assert done.err == ""
        found = np.array([line.split() for line in out.read_text().splitlines()[5:8]], float)
        assert np.linalg.norm(found - pair.landmarks[:3], axis=1).mean() < 1.5
