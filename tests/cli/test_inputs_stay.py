"""No verb replaces a file that it reads, under whatever name."""

from __future__ import annotations

import os
import shutil

import pytest

from sacbnet.registration.result import FILES, MAPS


def _bytes(folder):
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _link(kind, source, target):
    {"itself": os.rename, "symlink": os.symlink, "hard link": os.link}[kind](source, target)


@pytest.mark.parametrize("kind", ["itself", "symlink", "hard link"])
@pytest.mark.parametrize(
    ("option", "name", "result"),
    [
        ("--moving", "aligned", "moved.nii.gz"),
        ("--fixed", "fixed", "uncertainty_mm.nii.gz"),
        ("--fixed-labels", "fixed_labels", "moved_labels.nii.gz"),
        ("--moving-labels", "aligned_labels", "clusters_moving_level3.nii.gz"),
        ("--fixed-mask", "fixed_labels", "transform.nii.gz"),
        ("--moving-mask", "aligned_labels", "inverse_transform.nii.gz"),
    ],
)
def test_register(register, files, tmp_path, kind, option, name, result):
    out = tmp_path / "out"
    out.mkdir()
    source = tmp_path / "input.nii.gz"
    shutil.copy(files[name], source)
    _link(kind, source, out / result)
    given = out / result if kind == "itself" else source
    before = _bytes(tmp_path)
    done = register(f"{option}={given}")
    assert done.code == 5 and "would replace the input" in done.sentence()
    assert str(out / result) in done.sentence()
    assert _bytes(tmp_path) == before


def test_register_through_a_link_to_its_folder(register, files, tmp_path):
    (tmp_path / "data").mkdir()
    moving = tmp_path / "data" / "moved.nii.gz"
    shutil.copy(files["aligned"], moving)
    (tmp_path / "out").symlink_to(tmp_path / "data")
    before = moving.read_bytes()
    assert register(f"--moving={moving}").code == 5 and moving.read_bytes() == before


def test_a_log_is_not_added_to_an_image(register, files, tmp_path):
    moving = tmp_path / "a.nii.gz"
    shutil.copy(files["aligned"], moving)
    before = moving.read_bytes()
    done = register(f"--moving={moving}", f"--log={moving}")
    assert done.code == 5 and moving.read_bytes() == before


@pytest.mark.parametrize("name", [*FILES, MAPS[0], "input", "reference", "link"])
def test_apply(sacbnet, commands, files, tmp_path, name):
    result = tmp_path / "result"
    shutil.copytree(commands[0].out, result)
    image, reference = tmp_path / "image.nii.gz", tmp_path / "reference.nii.gz"
    shutil.copy(files["aligned"], image)
    shutil.copy(files["fixed"], reference)
    (tmp_path / "link.nii.gz").symlink_to(result / "moved.nii.gz")
    places = {"input": image, "reference": reference, "link": tmp_path / "link.nii.gz"}
    out = places.get(name, result / name)
    before = _bytes(tmp_path)
    more = f"--image={image}", f"--reference={reference}", f"--out={out}"
    done = sacbnet("apply", result, "--onto=fixed", *more)
    assert done.code == 5 and str(out) in done.sentence()
    assert _bytes(tmp_path) == before


def test_apply_beside_a_result(sacbnet, commands, files, tmp_path):
    result = tmp_path / "result"
    shutil.copytree(commands[0].out, result)
    done = sacbnet(
        "apply", result, "--onto=fixed", f"--image={files['aligned']}", f"--out={result}/pet.nii.gz"
    )
    assert done.code == 0 and (result / "pet.nii.gz").is_file()


def test_the_other_verbs(sacbnet, files, tmp_path):
    out = tmp_path / "out"
    (out / "one").mkdir(parents=True)
    shutil.copy(files["aligned"], out / "one" / "moved.nii.gz")
    table = f"name,fixed,moving\none,{files['fixed']},{out / 'one' / 'moved.nii.gz'}\n"
    (out / "list.csv").write_text(table)
    (out / "pairs.csv").write_text(f"fixed,moving\n{files['fixed']},{files['aligned']}\n")
    (out / "a.pth").write_bytes(b"weights")
    before = _bytes(tmp_path)
    for command in (
        ("cohort", out / "list.csv", f"--out={out}", "--weights=none"),
        ("evaluate", f"--data={out / 'pairs.csv'}", f"--out={out}"),
        ("data", "pack", out / "pairs.csv", f"--out={files['fixed']}"),
        ("data", "pack", out / "pairs.csv", f"--out={out / 'pairs.csv'}"),
        ("convert-checkpoint", out / "a.pth", out / "a.pth"),
        ("benchmark", "hippocampus", f"--data={out / 'pairs.csv'}", f"--out={out}"),
    ):
        done = sacbnet(*command)
        assert done.code == 5 and "would replace the input" in done.sentence(), command
        assert _bytes(tmp_path) == before, command
