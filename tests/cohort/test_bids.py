"""Images of a BIDS dataset, as pybids lists them; results under the names of derivatives."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sacbnet.cohort.bids import is_bids, parsed, read_bids
from sacbnet.cohort.derivatives import names, space_of, write_derivatives
from sacbnet.cohort.members import pairwise, read_members, to_reference
from sacbnet.cohort.run import register_pairs
from sacbnet.errors import InputError
from sacbnet.registration.registrar import Registrar
from sacbnet.registration.result import AFFINE, TRANSFORM

IMAGES = (
    "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
    "sub-01/ses-b/anat/sub-01_ses-b_run-1_T1w.nii.gz",
    "sub-01/ses-b/anat/sub-01_ses-b_run-2_T1w.nii.gz",
    "sub-02/anat/sub-02_acq-fast_T1w.nii",
)


@pytest.fixture
def dataset(tmp_path, files):
    """Four T1w of two subjects, with what lies beside images in real datasets."""
    root = tmp_path / "raw"
    root.mkdir()
    about = {"Name": "A study", "BIDSVersion": "1.9.0"}
    (root / "dataset_description.json").write_text(json.dumps(about), encoding="utf-8")
    others = (
        "sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz",
        "sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz",
        "derivatives/x/sub-01/ses-a/anat/sub-01_ses-a_desc-brain_T1w.nii.gz",
        "sub-02/anat/notes_T1w.nii.gz",
        "sub-02/anat/sub-01_T1w.nii.gz",
    )
    for n, name in enumerate((*IMAGES, *others)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if n < len(IMAGES):
            image = nib.load(files["aligned" if n % 2 else "fixed"])
            nib.save(image, path)
        else:
            nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), path)
    return root


def test_the_images_are_those_that_pybids_lists(dataset):
    bids = pytest.importorskip("bids")
    theirs = bids.BIDSLayout(dataset, validate=True, derivatives=False).get(
        suffix="T1w", extension=[".nii.gz", ".nii"]
    )
    ours = read_bids(dataset, "T1w")
    # pybids takes a file that lies with another subject
    right = [t for t in theirs if t.filename != "sub-01_T1w.nii.gz"]
    assert {Path(t.path) for t in right} == {i.path for i in ours}
    assert [i.path.relative_to(dataset).as_posix() for i in ours] == list(IMAGES)
    long = {"sub": "subject", "ses": "session", "run": "run", "acq": "acquisition"}
    for image in ours:
        (their,) = (t for t in right if Path(t.path) == image.path)
        found = {long[key]: value for key, value in image.entities.items()}
        wanted = {k: str(v) for k, v in their.get_entities().items() if k in long.values()}
        assert found == wanted and their.get_entities()["suffix"] == image.suffix


def test_the_kind_must_be_named_if_there_are_several(dataset, tmp_path):
    assert is_bids(dataset) and not is_bids(tmp_path)
    with pytest.raises(InputError, match="kinds T1w, T2w; name one of them by --suffix"):
        read_bids(dataset)
    with pytest.raises(InputError, match="no NIfTI image of the kind FLAIR; it has T1w, T2w"):
        read_bids(dataset, "FLAIR")
    for path in dataset.rglob("*_T2w.nii.gz"):
        path.unlink()
    assert len(read_bids(dataset)) == 4
    with pytest.raises(InputError, match="--suffix is for a BIDS dataset"):
        read_members(tmp_path, "T1w")


@pytest.mark.parametrize(
    "name",
    ["T1w.nii.gz", "sub-01.nii.gz", "sub-01_T1w.mgz", "ses-1_T1w.nii", "sub-1_sub-2_T1w.nii"],
)
def test_other_names_are_none_of_bids(name):
    assert parsed(Path(name)) is None


def test_spaces_have_letters_and_digits_only():
    assert space_of(Path("a/my template_v2.nii.gz")) == "mytemplatev2"
    image = parsed(Path("sub-01_ses-a_T1w.nii.gz"))
    assert image is not None and space_of(image.path, image) == "sub01sesaT1w"
    assert names(image, "X")[TRANSFORM] == "sub-01_ses-a_from-T1w_to-X_mode-image_xfm.nii.gz"


def test_results_have_the_names_of_derivatives(dataset, files, tmp_path):
    members = read_members(dataset, "T1w")
    pairs = to_reference(members, Path(files["fixed"]))[:2]
    out = tmp_path / "derivatives"
    found = register_pairs(
        pairs, Registrar(weights="none", affine="none", refine=1), out, pictures=False
    )
    assert found.count("done") == 2
    assert write_derivatives(found, pairs, members, dataset, out) == 2
    folder = out / "sub-01" / "ses-a" / "anat"
    start = "sub-01_ses-a"
    assert {path.name for path in folder.iterdir()} == {
        f"{start}_from-T1w_to-fixed_mode-image_xfm.nii.gz",
        f"{start}_from-T1w_to-fixed_mode-image_xfm.json",
        f"{start}_from-fixed_to-T1w_mode-image_xfm.nii.gz",
        f"{start}_from-T1w_to-fixed_mode-image_desc-affine_xfm.mat",
        f"{start}_space-fixed_T1w.nii.gz",
    }
    made = out / pairs[0].name
    field = folder / f"{start}_from-T1w_to-fixed_mode-image_xfm.nii.gz"
    assert os.path.samefile(field, made / TRANSFORM)
    about = json.loads(field.with_name(field.name.replace(".nii.gz", ".json")).read_text())
    assert about["Sources"][0] == f"bids:raw:{IMAGES[0]}"
    assert (folder / about["SpatialReference"]).resolve() == Path(files["fixed"]).resolve()
    described = json.loads((out / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative" and described["GeneratedBy"][0]["Version"]
    assert (out / described["DatasetLinks"]["raw"]).resolve() == dataset
    # a result that was made again, or lost its link, is linked again
    (made / AFFINE).write_bytes(b"new")
    affine = folder / f"{start}_from-T1w_to-fixed_mode-image_desc-affine_xfm.mat"
    affine.unlink()
    write_derivatives(found, pairs, members, dataset, out)
    assert affine.read_bytes() == b"new"

    bids = pytest.importorskip("bids")
    layout = bids.BIDSLayout(out, validate=False, is_derivative=True)
    listed = layout.get(suffix="xfm", extension=".nii.gz", **{"from": "T1w"})
    assert {Path(x.path).name for x in listed} == {
        f"{start}_from-T1w_to-fixed_mode-image_xfm.nii.gz",
        "sub-01_ses-b_run-1_from-T1w_to-fixed_mode-image_xfm.nii.gz",
    }
    assert {x.get_entities()["to"] for x in listed} == {"fixed"}


def test_pairwise_takes_each_pair_once(dataset):
    members = read_members(dataset, "T1w")
    pairs = pairwise(members)
    assert len(pairs) == 6 and len({frozenset((p.fixed, p.moving)) for p in pairs}) == 6
    assert pairs[0].name == "sub-01_ses-b_run-1_T1w_to_sub-01_ses-a_T1w"
    with pytest.raises(InputError, match="one image; two at least"):
        pairwise(members[:1])
