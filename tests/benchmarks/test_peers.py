"""The benchmark of other tools: pairs, scores and table without them; and small registrations by those installed.

The tools are looked for in this Python, or in the one that PEERS_PYTHON names.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sacbnet.apply import carry
from sacbnet.errors import GridError
from sacbnet.io.images import load_image
from sacbnet.io.transforms import save_affine, save_displacement
from sacbnet.metrics import dice
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

FOLDER = Path(__file__).parents[2] / "benchmarks"
PYTHON = os.environ.get("PEERS_PYTHON", sys.executable)
MODULES = {"syn": "ants", "greedy": "picsl_greedy"}
RAS = np.diag([1.0, 1.0, 1.0, 1.0])
LAS = np.array([[-1.0, 0, 0, 70], [0, 1, 0, -6], [0, 0, 1, 4], [0, 0, 0, 1]])


@pytest.fixture
def scripts(monkeypatch):
    """Import one of the scripts by name, as `python benchmarks/peers.py` would."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def head(shape, affine, pose):
    """A head of four labels, and its image, on any grid; pose: its world -> the world in which the head is drawn."""
    p = Affine(pose)(Grid(shape, affine).world(np.moveaxis(np.indices(shape), 0, -1))) - 24.0
    labels = np.zeros(shape, np.int16)
    labels[(p**2 / [19**2, 16**2, 17**2]).sum(-1) < 1] = 7
    for label, middle, radius in ((3, (8, 2, 0), 5), (12, (-7, 3, 3), 6), (200, (1, -7, -5), 5)):
        labels[((p - middle) ** 2).sum(-1) < radius**2] = label
    image = np.select([labels == n for n in (7, 3, 12, 200)], [400.0, 900.0, 150.0, 700.0])
    return image + 20 * np.sin(p).sum(-1) * (labels > 0), labels


@pytest.fixture
def pair(tmp_path):
    """images/ and labels/ of one head, "a" on an upright grid and "b", moved and scaled, on one of another frame."""
    pose = Affine.translation([4.0, -3.0, 2.0]).matrix @ np.diag([1.06, 0.95, 1.0, 1.0])
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for name, shape, affine, moved in (("a", (48, 48, 46), RAS, np.eye(4)), ("b", (56, 60, 50), LAS, pose)):
        image, labels = head(shape, affine, moved)
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), tmp_path / "images" / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(labels, affine), tmp_path / "labels" / f"{name}.nii.gz")
    return tmp_path


def test_the_pairs(scripts):
    sets = scripts("sets").SETS
    lpba, malf = sets["lpba40"], sets["malf"]
    assert lpba.aligned and len(lpba.labels) == 54 and not {181, 182} & set(lpba.labels)
    assert len(set(lpba.pairs)) == 20 and all(m != f for m, f in lpba.pairs)
    assert lpba.pairs[:5] == (("S37", "S36"), ("S38", "S37"), ("S39", "S38"), ("S40", "S39"), ("S36", "S40"))
    assert not malf.aligned and not malf.labels and len(malf.pairs) == 14
    assert {f for _, f in malf.pairs} == {"1000"} and ("1000", "1000") not in malf.pairs


@pytest.mark.parametrize("affine_file", ["affine.mat", "affine_ras.txt"])
def test_what_a_tool_wrote_is_scored(scripts, tmp_path, affine_file):
    """Moved by whole voxels, 2 by the warp and 3 by the affine, between grids of two frames: the result is known."""
    peers = scripts("peers")
    of_fixed = np.zeros((20, 21, 22), np.int16)
    of_fixed[4:9, 5:10, 6:11], of_fixed[12:15, 4:12, 5:9] = 3, 8
    grid = Grid(of_fixed.shape, RAS)
    of_moving = np.zeros_like(of_fixed)
    of_moving[:, 2:, 3:] = of_fixed[:, :-2, :-3]  # moving(p + (0, 2, 3)) = fixed(p)
    of_moving[0, 0, 0] = 9  # of one map only
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[0, 3] = 19
    files = {"fixed": (of_fixed, RAS), "labels": (of_moving[::-1], flipped), "moved_labels": (of_fixed, RAS)}
    for name, (data, affine) in files.items():
        nib.save(nib.Nifti1Image(data, affine), tmp_path / f"{name}.nii.gz")
    fixed, moving = (load_image(tmp_path / f"{name}.nii.gz", "labels") for name in ("fixed", "labels"))
    shift = Affine.translation([0, 0, 3.0])
    if affine_file == "affine.mat":
        save_affine(tmp_path / affine_file, shift)
    else:
        np.savetxt(tmp_path / affine_file, shift.matrix)
    save_displacement(tmp_path / "warp.nii.gz", DisplacementField.from_map(Affine.translation([0, 2.0, 0]), grid))
    found = peers.score(tmp_path, fixed, moving, ())
    assert (found["labels"], found["labels_one_sided"], found["hd95_left_out"]) == (3, 1, 1)
    assert found["dice"] == pytest.approx(2 / 3) and found["hd95_mm"] == 0
    assert found["folded_percent"] == found["non_diffeomorphic_percent"] == 0
    assert peers.score(tmp_path, fixed, moving, (3, 8))["dice"] == 1
    save_displacement(tmp_path / "warp.nii.gz", DisplacementField.from_map(Affine.translation([0, -2.0, 0]), grid))
    with pytest.raises(GridError, match="check its frame"):
        peers.score(tmp_path, fixed, moving, ())


def test_seconds_of_the_stages(scripts):
    peers, log = scripts("peers"), "x\n  Elapsed time (stage 0): 1.25e+00\n\n  Elapsed time (stage 1): 3.5e+01\nTotal"
    assert peers.stage_seconds(log, aligned=False) == {"affine": 1.25, "deformable": 35.0}
    assert peers.stage_seconds(log.split("\n\n")[0], aligned=True) == {"deformable": 1.25}
    with pytest.raises(ValueError):
        peers.stage_seconds("", aligned=True)


def test_the_table(scripts, tmp_path, capsys, monkeypatch):
    peers, target = scripts("peers"), tmp_path / "new" / "rows.csv"
    for n, value in enumerate((0.7, 0.8)):
        row = dict.fromkeys(peers.COLUMNS, 0.0) | dict(zip(peers.KEY, ("malf", "1000", str(n), "syn"), strict=True))
        peers.append(target, row | {"dice": value, "hd95_mm": float("nan")})
    monkeypatch.setattr(sys, "argv", ["peers.py", "--summary", "--csv", str(target)])
    peers.main()
    title, rule, line = capsys.readouterr().out.splitlines()
    assert title.count("|") == rule.count("|") == line.count("|")
    assert line.startswith("| malf | syn | 2 | 0.75 ± 0.071 | nan ± nan | 0 ± 0 |")


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("method", MODULES)
def test_a_tool_registers_a_pair(scripts, pair, monkeypatch, method, aligned):
    if subprocess.run([PYTHON, "-c", f"import {MODULES[method]}"], capture_output=True).returncode:
        pytest.skip(f"{PYTHON} has no {MODULES[method]}")
    peers, target = scripts("peers"), pair / "rows.csv"
    toy = scripts("sets").PairSet((("b", "a"),), aligned=aligned)
    monkeypatch.setattr(peers, "SETS", {"toy": toy})
    arguments = ["toy", str(pair), "--python", PYTHON, "--csv", str(target), "--methods", method]
    monkeypatch.setattr(sys, "argv", ["peers.py", *arguments])
    with pytest.raises(SystemExit, match="0"):
        peers.main()
    (row,) = peers.read_rows(target)
    assert tuple(row) == peers.COLUMNS and (row["moving"], row["fixed"], row["labels"]) == ("b", "a", "4")
    moving, fixed = (load_image(pair / "labels" / f"{name}.nii.gz", "labels") for name in "ba")
    assert float(row["dice"]) > dice(carry(moving, fixed, Affine(), "nearest").data, fixed.data).mean + 0.4
    assert (float(row["affine_s"]) == 0) == aligned and float(row["deformable_s"]) > 0
    assert float(row["peak_mb"]) > 20 and float(row["cpu_s"]) > 0
    assert float(row["non_diffeomorphic_percent"]) < 1
    written = target.read_bytes()
    monkeypatch.setattr(peers, "WORKER", Path("gone.py"))  # what is in the file is not done again
    with pytest.raises(SystemExit, match="0"):
        peers.main()
    assert target.read_bytes() == written


def test_a_pair_that_fails_is_told_and_not_written(scripts, pair, monkeypatch, capsys):
    peers, target = scripts("peers"), pair / "rows.csv"
    monkeypatch.setattr(peers, "SETS", {"toy": scripts("sets").PairSet((("b", "a"),))})
    monkeypatch.setattr(peers, "WORKER", Path("gone.py"))
    arguments = ["toy", str(pair), "--python", sys.executable, "--csv", str(target), "--methods", "syn"]
    monkeypatch.setattr(sys, "argv", ["peers.py", *arguments])
    with pytest.raises(SystemExit, match="1"):
        peers.main()
    assert not target.exists() and "syn b -> a failed" in capsys.readouterr().err
