"""`sacbnet register --dicom-out`."""

from __future__ import annotations

import numpy as np
import pydicom

from sacbnet.io.images import load_image

from ..registration.test_dicom import make_series
from .conftest import QUICKLY


def test_the_result_as_dicom(sacbnet, tmp_path) -> None:
    series = [
        make_series(tmp_path / n, "CT", (16, 15, 12), 2.0, k) for k, n in ((1, "a"), (2, "b"))
    ]
    pair = f"--fixed={series[0]}", f"--moving={series[1]}"
    out, dicom = tmp_path / "out", tmp_path / "dicom"
    done = sacbnet("register", *pair, f"--out={out}", f"--dicom-out={dicom}", *QUICKLY, "--accept")
    assert done.code == 0, done.err
    assert f"written to {dicom}: 12 slices, registration.dcm" in done.out
    assert len(list(dicom.iterdir())) == 13
    found, expected = load_image(dicom), load_image(out / "moved.nii.gz")
    assert found.grid.matches(expected.grid)
    assert np.abs(found.data - expected.data).max() <= 0.501
    data = pydicom.dcmread(dicom / "registration.dcm")
    assert (data.Modality, data.FrameOfReferenceUID) == ("REG", "1.2.1.5")


def test_no_dicom_is_refused_before_work(sacbnet, files, tmp_path) -> None:
    series = make_series(tmp_path / "a", "CT")
    more = (
        f"--moving={files['moving']}",
        f"--out={tmp_path / 'out'}",
        f"--dicom-out={tmp_path / 'd'}",
    )
    said = sacbnet("register", f"--fixed={files['fixed']}", *more).sentence()
    assert said.startswith("the fixed image") and "is no DICOM series" in said
    said = sacbnet("register", f"--fixed={series}", *more).sentence()
    assert said.startswith("the moving image") and "is no DICOM series" in said
    assert not (tmp_path / "out").exists() and not (tmp_path / "d").exists()
