"""sacbnet data check and pack."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from sacbnet.cli.data import app
from sacbnet.data.pack import open_pack
from sacbnet.errors import InputError


@pytest.fixture
def folder(tmp_path) -> Path:
    """images/s1 ... s10 and labels/, and a CSV of two pairs."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for n in range(1, 11):
        rng = np.random.default_rng(n)
        image, labels = (
            rng.random((32, 34, 36), dtype=np.float32),
            rng.integers(0, 3, (32, 34, 36), dtype=np.uint8),
        )
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"images/s{n}.nii")
        nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / f"labels/s{n}.nii")
    pairs = ["fixed,moving", "images/s2.nii,images/s10.nii", "images/s3.nii,images/s2.nii"]
    (tmp_path / "pairs.csv").write_text("\n".join(pairs))
    return tmp_path


@pytest.fixture
def data(monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_check_of_a_sound_set(data, folder) -> None:
    done = data("check", folder)
    assert done.exit_code == 0 and done.exception is None
    assert done.output == "10 cases, 0 pairs, 0 errors, 0 warnings\n"
    assert data("check", folder / "pairs.csv").output == "3 cases, 2 pairs, 0 errors, 0 warnings\n"
    assert data("check", folder, "--subset=s1*,0:3").output.startswith("4 cases")
    assert json.loads(data("check", folder, "--json").output) == {
        "cases": 10,
        "pairs": 0,
        "errors": 0,
        "findings": [],
    }


def test_check_of_a_set_with_faults(data, folder) -> None:
    nib.save(
        nib.Nifti1Image(np.ones((32, 34, 36), np.float32), np.eye(4)), folder / "images/s2.nii"
    )
    nib.save(nib.Nifti1Image(np.ones((32, 34, 36), np.uint8), np.eye(4)), folder / "labels/s9.nii")
    done = data("check", folder)
    assert isinstance(done.exception, InputError) and done.exception.exit_code == 3
    assert "1 errors were found" in str(done.exception)
    error, warning = (
        line for line in done.output.splitlines() if line.startswith(("error", "warning"))
    )
    assert "s2" in error and "is constant (every voxel is 1)" in error
    assert "s9" in warning and "its labels lack 2" in warning
    assert done.output.splitlines()[-1] == "10 cases, 0 pairs, 1 errors, 1 warnings"
    done = data("check", folder, "--json")
    assert isinstance(done.exception, InputError)
    findings = json.loads(done.output)["findings"]
    assert [(f["severity"], f["case"]) for f in findings] == [("error", "s2"), ("warning", "s9")]
    assert data("check", folder, "--subset=s9,s8").exit_code == 0  # a warning is none


def test_brackets_are_no_markup(data, folder) -> None:
    (folder / "images/s1.nii").rename(folder / "images/[red]s1.nii")
    assert "[red]s1" in data("check", folder).output


def test_alignment(data, folder) -> None:
    far = np.eye(4)
    far[0, 3] = 500
    image = nib.load(folder / "images/s1.nii").get_fdata(dtype=np.float32)
    nib.save(nib.Nifti1Image(image, far), folder / "images/s4.nii")
    (folder / "labels/s4.nii").unlink()
    assert isinstance(data("check", folder).exception, InputError)
    assert data("check", folder, "--align=centre").exit_code == 0
    assert isinstance(data("pack", folder, f"--out={folder / 'p'}").exception, InputError)
    assert data("pack", folder, f"--out={folder / 'p'}", "--align=centre").exit_code == 0
    assert open_pack(folder / "p").labels(3) is None


def test_pack(data, folder) -> None:
    out = folder / "set.pack"
    done = data(
        "pack",
        folder,
        f"--out={out}",
        "--subset=0:4",
        "--spacing=2",
        "--shape=16,18x16",
        "--bits=8",
    )
    assert done.exit_code == 0
    expected = f"written: {out} (4 cases, 16 × 18 × 16 at 2 × 2 × 2 mm, 2 labels, 0 MiB)\n"
    assert done.output == expected
    pack = open_pack(out)
    assert pack.names == ("s1", "s2", "s3", "s4") and pack.metadata["bits"] == "8"
    assert data("pack", folder, f"--out={out}", "-q").output == ""
    assert len(open_pack(out)) == 10


def test_a_pack_keeps_the_pairs_of_its_cases(data, folder) -> None:
    out = folder / "set.pack"
    assert data("pack", folder / "pairs.csv", f"--out={out}").exit_code == 0
    pack = open_pack(out)
    assert [(pack.names[m], pack.names[f]) for m, f in pack.pairs] == [("s10", "s2"), ("s2", "s3")]
    assert data("pack", folder / "pairs.csv", f"--out={out}", "--subset=s2,s10").exit_code == 0
    pack = open_pack(out)
    assert [(pack.names[m], pack.names[f]) for m, f in pack.pairs] == [("s10", "s2")]


@pytest.mark.parametrize("shape", ["16", "16,a,16", "16,16,16,16", "-16,16,16"])
def test_shapes_that_are_none(data, folder, shape) -> None:
    done = data("pack", folder, f"--out={folder / 'p'}", f"--shape={shape}")
    assert done.exit_code == 2 and "three sizes were expected" in done.output
    assert not (folder / "p").exists()


def test_sources_that_are_none(data, tmp_path) -> None:
    for verb in (("check",), ("pack", f"--out={tmp_path / 'p'}")):
        done = data(*verb, tmp_path / "nowhere")
        assert isinstance(done.exception, InputError) and "nowhere does not exist" in str(
            done.exception
        )
