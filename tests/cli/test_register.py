"""sacbnet register: end to end, and every way in which it refuses."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.imaging.points import Points
from sacbnet.io.images import load_image, save_image
from sacbnet.io.itk import image_to_itk
from sacbnet.io.points import save_points
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.networks.weights.load import save_weights
from sacbnet.registration.result import FILES, MOVED_LABELS, PAGE, RUN
from sacbnet.spatial.grid import Grid

from .conftest import QUICKLY, STAGE


def test_end_to_end(commands, pair) -> None:
    told, quiet = commands
    assert told.process.returncode == quiet.process.returncode == 0, told.process.stderr
    for command in commands:
        assert {p.name for p in command.out.iterdir()} == set(FILES)
        assert load_image(command.out / "moved.nii.gz").grid.matches(pair.fixed.grid)
    for words in (
        "local correlation",
        "start",
        "final",
        "folding: 0 voxels",
        "inverse:",
        "took ",
    ):
        assert words in told.process.stdout, words
    assert "moved.nii.gz" in told.process.stdout and "error" not in told.process.stderr
    assert (
        told.process.stdout.strip().splitlines()[-1].startswith(("verdict: good", "verdict: check"))
    )
    report = json.loads((told.out / RUN).read_text())
    assert report["options"]["refine"] == 2 and report["fixed"]["name"].endswith("fixed.nii.gz")
    assert (
        report["similarity"]["final"]["local_correlation"]
        > report["similarity"]["start"]["local_correlation"] + 0.1
    )


def test_landmarks_metric_and_smoothness(register, pair, tmp_path) -> None:
    for name, places in {"f.csv": pair.landmarks, "m.mrk.json": pair.landmarks + 1}.items():
        save_points(tmp_path / name, Points(places))
    marks = f"--fixed-points={tmp_path / 'f.csv'}", f"--moving-points={tmp_path / 'm.mrk.json'}"
    done = register(*marks, "--metric=mse", "--smoothness=3")
    assert done.code == 0, done.said
    assert f"{len(pair.landmarks)} landmarks, mean mm" in done.out
    report = json.loads((tmp_path / "out" / RUN).read_text())
    assert (report["options"]["metric"], report["options"]["smoothness"]) == ("mse", 3)
    assert report["landmarks"]["start"]["mean_mm"] == pytest.approx(3**0.5, abs=1e-5)
    assert register(marks[0], f"--out={tmp_path / 'other'}").code == 3
    assert register("--metric=ncc", f"--out={tmp_path / 'other'}").code == 2


def test_quiet_prints_nothing(commands) -> None:
    assert commands[1].process.stdout == commands[1].process.stderr == ""


def test_masks_labels_and_dice(register, files, tmp_path) -> None:
    labels = f"--fixed-labels={files['fixed_labels']}", f"--moving-labels={files['aligned_labels']}"
    masks = f"--fixed-mask={files['fixed_labels']}", f"--moving-mask={files['aligned_labels']}"
    done = register(*labels, *masks)
    assert done.code == 0 and "Dice, nearest" in done.out and done.said == ""
    assert (tmp_path / "out" / MOVED_LABELS).is_file()


def test_the_same_folder_again_with_fewer_outputs(register, files, tmp_path) -> None:
    assert register(f"--moving-labels={files['aligned_labels']}").code == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    first = (tmp_path / "out" / RUN).read_text()
    assert register("--refine=0").code == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(FILES) - {MOVED_LABELS} | {
        "notes.txt"
    }
    assert (tmp_path / "out" / RUN).read_text() != first


def test_a_failed_run_leaves_the_earlier_result(register, files, tmp_path) -> None:
    assert register("--refine=0").code == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert register(f"--moving-mask={files['fixed_labels']}").code == 3
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_the_page(register, files, tmp_path) -> None:
    """It has the command; without it nothing else changes."""
    names = files["fixed"], files["aligned"]
    assert register("--refine=0").code == 0
    page = (tmp_path / "out" / PAGE).read_text(encoding="utf-8")
    assert f"sacbnet register --fixed={names[0]} --moving={names[1]}" in page
    assert f"in the folder {os.getcwd()}" in page
    before = (tmp_path / "out" / "moved.nii.gz").read_bytes()
    done = register("--refine=0", "--no-report")
    assert done.code == 0 and PAGE not in done.out
    assert not (tmp_path / "out" / PAGE).exists()
    assert (tmp_path / "out" / "moved.nii.gz").read_bytes() == before


# -- bad images ------------------------------------------------------------------------------------
def _bad_images(folder, files) -> dict[str, object]:
    good = nib.load(files["fixed"])
    data, affine = good.get_fdata(dtype=np.float32), good.affine
    nan = data.copy()
    nan[:] = np.nan
    colours = np.zeros(data.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for name, values in {
        "flat.nii.gz": data[:, :, 20],
        "slice.nii.gz": data[:, :, 20:21],
        "colours.nii.gz": colours,
        "zero.nii.gz": np.zeros_like(data),
        "nan.nii.gz": nan,
        "series.nii.gz": np.stack([data, data], axis=-1),
    }.items():
        nib.save(nib.Nifti1Image(values, affine), folder / name)
    raw = files["fixed"].read_bytes()
    (folder / "cut.nii.gz").write_bytes(raw[: len(raw) // 2])
    (folder / "short.nii.gz").write_bytes(gzip.compress(gzip.decompress(raw)[:50_000]))
    (folder / "text.nii").write_text("hello\n" * 100)
    (folder / "empty.nii.gz").touch()
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "folder").mkdir()
    return {
        "none.nii.gz": "does not exist",
        "flat.nii.gz": "2-D",
        "slice.nii.gz": "single slice",
        "colours.nii.gz": "colours",
        "zero.nii.gz": "constant",
        "nan.nii.gz": "NaN",
        "series.nii.gz": "2 volumes",
        "cut.nii.gz": "cut short",
        "short.nii.gz": "cut short",
        "text.nii": "cannot be read",
        "empty.nii.gz": "empty",
        "picture.png": "unknown format",
        "folder": "no DICOM series",
    }


def test_bad_images(register, files, tmp_path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    for name, words in _bad_images(folder, files).items():
        for side in ("fixed", "moving"):
            done = register(f"--{side}={folder / name}")
            assert done.code == 3, (name, done)
            assert words in done.sentence() and name in done.sentence(), (name, done.err)
            assert [p.name for p in tmp_path.iterdir()] == ["bad"], name


@pytest.mark.parametrize("option", ["fixed-mask", "moving-mask", "fixed-labels", "moving-labels"])
def test_masks_and_labels_of_the_wrong_grid(register, files, tmp_path, option) -> None:
    other = files["aligned_labels" if option.startswith("fixed") else "fixed_labels"]
    done = register(f"--{option}={other}")
    assert (
        done.code == 3
        and "lies on another grid" in done.sentence()
        and "resample" in done.sentence()
    )
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_not_whole_and_empty_masks(register, files, tmp_path) -> None:
    done = register(f"--moving-labels={files['aligned']}")
    assert done.code == 3 and "not whole numbers" in done.sentence()
    fixed = load_image(files["fixed"])
    save_image(tmp_path / "mask.nii.gz", np.zeros(fixed.data.shape), fixed)
    done = register(f"--fixed-mask={tmp_path / 'mask.nii.gz'}")
    assert done.code == 3 and "empty mask" in done.sentence()
    assert [p.name for p in tmp_path.iterdir()] == ["mask.nii.gz"]


# -- bad folders, disks, weights, devices ----------------------------------------------------------
@pytest.mark.parametrize("place, words", [
    ("file", "it is a file; choose another folder"),
    ("file/below/it", "a part of this path is a file"),
    ("/proc/sacbnet", ""),
    ("occupied", "is a folder; choose another name"),
])  # fmt: skip
def test_folders_that_cannot_be_written(register, tmp_path, place, words) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "occupied" / "moved.nii.gz").mkdir(parents=True)
    done = register(f"--out={place if place.startswith('/') else tmp_path / place}")
    assert done.code == 5 and "could not be written" in done.sentence() and words in done.sentence()
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")} == {
        "file",
        "occupied",
        "occupied/moved.nii.gz",
    }
    assert (tmp_path / "file").read_text() == "mine"


def test_disk_full_while_writing(files, tmp_path) -> None:
    """No file may grow beyond 100 kB: the first image can be written no more than in part."""
    out = tmp_path / "out"
    code = (
        "import resource, signal, sys; from sacbnet.cli.main import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "sys.argv[0] = 'sacbnet'; main()"
    )
    arguments = [
        "register",
        f"--fixed={files['fixed']}",
        f"--moving={files['aligned']}",
        f"--out={out}",
        *QUICKLY,
    ]
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 5 and process.stdout == "", process
    told = [line for line in process.stderr.splitlines(True) if not STAGE.match(line)]
    assert len(told) == 1 and "Traceback" not in process.stderr
    assert told[0].startswith("sacbnet: error: ") and "could not be written" in told[0]
    assert list(tmp_path.iterdir()) == []


def test_disk_full_at_the_last_file(register, tmp_path, monkeypatch) -> None:
    def full(*_) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("sacbnet.registration.result.save_affine", full)
    done = register()
    assert done.code == 5 and "free some space" in done.sentence()
    assert list(tmp_path.iterdir()) == []


def test_weights_that_cannot_be_used(register, tmp_path, files) -> None:
    model = SACBNet(SACBNetConfig(base_channels=1, clusters=(2, 2, 2, 2)))
    facts = dict.fromkeys(("licence", "trained_on", "spacing_mm", "intensity", "source"), "x")
    save_weights(tmp_path / "whole.safetensors", model, facts)
    whole = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    (tmp_path / "text.safetensors").write_text("hello")
    for path in ("none.safetensors", "cut.safetensors", "text.safetensors", "."):
        done = register(f"--weights={tmp_path / path}")
        assert done.code == 4 and str(tmp_path / path) in done.sentence()
    done = register(f"--weights={files['fixed']}")
    assert done.code == 4 and "no intact safetensors" in done.sentence()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "meta"])
def test_devices_that_are_not_there(register, tmp_path, device) -> None:
    done = register(f"--device={device}")
    assert done.code == 3 and f"the device '{device}' is not available" in done.sentence()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spacing", ["0", "-1", "nan"])
def test_spacings_that_cannot_be(register, tmp_path, spacing) -> None:
    done = register(f"--spacing={spacing}")
    assert done.code == 3 and "spacing" in done.sentence()
    assert list(tmp_path.iterdir()) == []


def test_a_result_worse_than_the_start(register, tmp_path, monkeypatch) -> None:
    from sacbnet.registration import displacement

    refine = displacement.refine
    monkeypatch.setattr(displacement, "refine", lambda **k: (refine(**k)[0] + 6.0, ()))
    done = register()
    assert done.code == 6 and "less like the fixed image than the start" in done.sentence()
    assert list(tmp_path.iterdir()) == []


def test_noise_has_failed_and_is_written_only_where_that_is_accepted(
    register, files, tmp_path
) -> None:
    image = nib.load(files["aligned"])
    noise = np.random.default_rng(0).normal(100, 20, image.shape).astype(np.float32)
    path = tmp_path / "noise.nii.gz"
    nib.save(nib.Nifti1Image(noise, image.affine), path)
    done = register(f"--moving={path}")
    assert done.code == 6 and "than by chance" in done.sentence() and "--accept" in done.sentence()
    assert not (tmp_path / "out").exists()
    done = register(f"--moving={path}", "--accept")
    assert done.code == 0
    verdict = json.loads((tmp_path / "out" / "run.json").read_text())["verdict"]
    assert verdict["word"] == "failed" and any("than by chance" in r for r in verdict["reasons"])
    assert "verdict: failed" in done.out


def test_an_affine_beyond_its_bounds(register, tmp_path, monkeypatch) -> None:
    from sacbnet.registration.affine.align import _Search
    from sacbnet.registration.affine.bounds import Bounds

    monkeypatch.setattr(_Search, "_poses", lambda self: [(0.0, np.eye(4))])  # it takes seconds
    monkeypatch.setattr(Bounds, "allow", lambda self, matrix: False)
    done = register("--affine=affine")
    assert done.code == 6 and "no sound pose" in done.sentence()
    assert list(tmp_path.iterdir()) == []


# -- odd, but right --------------------------------------------------------------------------------
def _write_odd(path, kind, data, grid: Grid) -> None:
    scaled = np.round(data / data.max() * 200)
    if kind == "4-D with one volume":
        nib.save(nib.Nifti1Image(data[..., None], grid.affine), path)
    elif kind == "big-endian":
        nib.save(
            nib.Nifti1Image(scaled.astype(">i2"), grid.affine, nib.Nifti1Header(endianness=">")),
            path,
        )
    elif kind == "scl_slope":
        # nibabel stores the numbers as they are, and reads 0.25 times them, less 7
        image = nib.Nifti1Image(scaled.astype(np.int16), grid.affine)
        image.header.set_slope_inter(0.25, -7)
        nib.save(image, path)
    elif kind == "uint8":
        nib.save(nib.Nifti1Image(scaled.astype(np.uint8), grid.affine), path)
    elif kind == "double":
        nib.save(nib.Nifti1Image(data.astype(np.float64), grid.affine), path)
    elif kind == ".mgz":
        nib.save(nib.MGHImage(data, grid.affine), path)
    else:
        sitk.WriteImage(image_to_itk(data, grid), str(path))


@pytest.mark.parametrize(
    "kind", ["4-D with one volume", "big-endian", "scl_slope", "uint8", "double", ".mgz", ".nrrd"]
)
def test_odd_but_right(register, pair, near, tmp_path, kind) -> None:
    """As fixed and as moving image: the result of plain files, except for rounded intensities."""
    extension = kind if kind.startswith(".") else ".nii.gz"
    arguments = []
    for side, image in (("fixed", pair.fixed), ("moving", pair.aligned)):
        _write_odd(tmp_path / f"{side}{extension}", kind, image.data, image.grid)
        arguments.append(f"--{side}={tmp_path / side}{extension}")
    done = register(*arguments, "--refine=2")
    assert done.code == 0, done.err
    from sacbnet.io.transforms import load_displacement

    found = load_displacement(tmp_path / "out" / "transform.nii.gz")
    off = np.linalg.norm(found(pair.in_head) - near.transform(pair.in_head), axis=1)
    assert found.grid.matches(pair.fixed.grid, 1e-2) and off.mean() < 0.1


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_sheared(register, pair, files, near, tmp_path, side) -> None:
    """Both images sheared alike and stored as they are; one side alone may be resampled upright."""
    shear = np.eye(4)
    shear[0, 1] = 0.1
    for name, image in (("fixed", pair.fixed), ("moving", pair.aligned)):
        affine = shear @ image.grid.affine if name == side else image.grid.affine
        nib.save(nib.Nifti1Image(image.data, affine), tmp_path / f"{name}.nii.gz")
    done = register(
        f"--fixed={tmp_path / 'fixed.nii.gz'}", f"--moving={tmp_path / 'moving.nii.gz'}"
    )
    assert done.code == 0, done.err
    moved = nib.load(tmp_path / "out" / "moved.nii.gz")
    assert np.allclose(moved.affine, nib.load(tmp_path / "fixed.nii.gz").affine, atol=1e-4)
    sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(tmp_path / "out/transform.nii.gz"), sitk.sitkVectorFloat64)
    )
    report = json.loads((tmp_path / "out" / RUN).read_text())
    assert report["inverse"]["round_trip_mean_mm"] < 0.1


def test_no_orientation_is_told(register, pair, files, tmp_path) -> None:
    image = nib.Nifti1Image(pair.fixed.data, None)
    image.header.set_sform(None, 0)
    image.header.set_qform(None, 0)
    nib.save(image, tmp_path / "bare.nii.gz")
    done = register(f"--fixed={tmp_path / 'bare.nii.gz'}", f"--moving={tmp_path / 'bare.nii.gz'}")
    assert done.code == 0 and "note: " in done.out and "no orientation" in done.out
    assert any(
        "no orientation" in w for w in json.loads((tmp_path / "out" / RUN).read_text())["warnings"]
    )


def test_dicom_series_as_moving(register, pair, near, tmp_path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    volume = image_to_itk(np.round(pair.aligned.data * 10).astype(np.int16), pair.aligned.grid)
    direction = np.array(volume.GetDirection()).reshape(3, 3)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(volume.GetSize()[2]):
        part = volume[:, :, k : k + 1]
        position = volume.TransformIndexToPhysicalPoint((0, 0, k))
        for tag, value in {
            "0020|000e": "1.2.3.4",
            "0008|0018": f"1.2.3.4.{k + 1}",
            "0020|0013": str(k + 1),
            "0020|0032": "\\".join(f"{v:.8g}" for v in position),
            "0020|0037": "\\".join(f"{v:.8g}" for v in direction[:, :2].T.ravel()),
        }.items():
            part.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{k:03d}.dcm"))
        writer.Execute(part)
    done = register(f"--moving={folder}", "--refine=2")
    assert done.code == 0, done.err
    from sacbnet.io.transforms import load_displacement

    found = load_displacement(tmp_path / "out" / "transform.nii.gz")
    assert np.linalg.norm(found(pair.in_head) - near.transform(pair.in_head), axis=1).mean() < 0.1
