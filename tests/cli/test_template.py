"""sacbnet template."""

from __future__ import annotations

import pytest

from sacbnet.registration.result import TRANSFORM

QUICK = ("--weights=none", "--refine=1", "--rounds=0", "--affine-rounds=1")


@pytest.fixture
def visits(files, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "visits.csv").write_text(
        f"name,image,subject\none,{files['fixed']},anna\ntwo,{files['aligned']},anna\n"
        f"only,{files['fixed']},ben\n",
        encoding="utf-8",
    )
    return folder / "visits.csv"


def test_a_template_of_each_subject(sacbnet, visits, tmp_path):
    out = tmp_path / "out"
    done = sacbnet("template", visits, f"--out={out}", "--within-subject", *QUICK)
    assert done.code == 0 and done.out == (
        f"anna: template of 2 images written to {out / 'anna' / 'template.nii.gz'}\n"
        "left out, as they have one image each: ben\n"
    )
    assert (out / "anna" / "subjects" / "two" / TRANSFORM).is_file()
    assert '"affine": "rigid"' in (out / "anna" / "template.json").read_text(encoding="utf-8")
    assert not (out / "ben").exists()


def test_an_input_is_not_replaced(sacbnet, visits, files, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "template.nii.gz").symlink_to(files["fixed"])
    refused = sacbnet("template", visits, f"--out={out}", *QUICK)
    assert refused.code == 5 and "would replace the input" in refused.sentence()
