"""Evaluation: numbers that are known beforehand, and the command."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sacbnet.cli.info import describe
from sacbnet.cli.main import app
from sacbnet.data.cases import Case, pair_up, read_cases
from sacbnet.errors import InputError
from sacbnet.evaluate import evaluate
from sacbnet.io.images import Image, load_image, save_image
from sacbnet.models.sacbnet import SACBNet
from sacbnet.models.weights import save_weights, weights_hash
from sacbnet.pipeline import Options, register
from sacbnet.spatial.grid import Grid
from sacbnet.train import train
from sacbnet.training.team import Team

FACTS = {"licence": "CC0", "trained_on": "nothing", "spacing_mm": 1, "intensity": "[0, 1]", "source": "a test"}
ALONE = Options(affine="none", refine=0)


def boxes(folder, name, low, spacing=(1.0, 1.0, 1.0), points=None):
    """Two boxes, side by side, and landmarks."""
    labels = np.zeros((24, 24, 24), np.uint8)
    labels[low : low + 8, 8:16, 4:12] = 1
    labels[low : low + 8, 8:16, 12:20] = 2
    grid = Grid(labels.shape, np.diag([*spacing, 1.0]))
    paths = [folder / f"{name}{kind}.nii.gz" for kind in ("", "_labels")]
    save_image(paths[0], 50.0 * labels.astype(np.float32), Image(labels, grid))
    save_image(paths[1], labels, Image(labels, grid), labels=True)
    if points is not None:
        (folder / f"{name}.csv").write_text("x,y,z\n" + "\n".join(",".join(map(str, p)) for p in points))
    return Case(name, *paths, None if points is None else folder / f"{name}.csv")


@pytest.fixture
def two(tmp_path):
    """The same boxes, two voxels of 1.5 mm apart along i; three landmarks (LPS), as far apart as that."""
    spacing = (1.5, 1.0, 2.0)
    at = np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0], [9.0, 8.0, 7.0]])
    return boxes(tmp_path, "a", 6, spacing, at), boxes(tmp_path, "b", 8, spacing, at - np.array([3.0, 0, 0]))


def test_the_identitys_numbers_are_known(two):
    found = evaluate(two, [(0, 1)], ALONE)
    before, after = found.pairs
    assert before["method"] == "identity" and after["method"] == "registered"
    for row in (before, after):
        assert row["dice_nearest"] == row["dice_onehot"] == pytest.approx(6 / 8)
        assert row["hd95_mm"] == pytest.approx(3.0)  # two voxels of 1.5 mm
        assert row["tre_mm"] == pytest.approx(3.0) and row["labels_absent"] == 0
    assert after["folded_percent"] == after["non_diffeomorphic_percent"] == after["sd_log_jacobian"] == 0
    assert after["seconds"] > 0 and after["peak_memory_mb"] > 0 and "seconds" not in before
    assert [row["label"] for row in found.labels] == [1, 2, 1, 2]


def test_a_case_with_itself_and_labels_that_are_not_there(two):
    found = evaluate(two, [(0, 0)], ALONE, labels=(1, 7))
    assert found.pairs[1]["dice_nearest"] == 1 and found.pairs[1]["hd95_mm"] == 0
    assert found.pairs[1]["labels_absent"] == 1 and [row["label"] for row in found.labels] == [1, 1]


def test_refinement_improves_on_the_identity(shapes):
    source = read_cases(shapes)
    found = evaluate(source.cases, [(0, 1)], Options(affine="none", refine=10))
    assert found.pairs[1]["dice_nearest"] > found.pairs[0]["dice_nearest"] + 0.02
    assert found.pairs[1]["non_diffeomorphic_percent"] == 0


def test_a_known_shift_is_scored_the_right_way(two, tmp_path, monkeypatch):
    """A network that says 'two voxels along i' makes a on b perfect, and b on a as bad as can be."""
    torch.manual_seed(0)
    save_weights(tmp_path / "w.safetensors", SACBNet(), FACTS | {"spacing_mm": "1.5, 1, 2"})

    def shift(self, moving, fixed):
        u = torch.zeros(1, 3, *fixed.shape[2:])
        u[:, 0] = -2.0 * fixed.shape[2] / 24  # in voxels of whatever grid it is shown
        return u

    monkeypatch.setattr(SACBNet, "forward", shift)
    options = Options(weights=str(tmp_path / "w.safetensors"), affine="none", spacing=1.0)
    found = evaluate(two, [(0, 1), (1, 0)], options)
    right, wrong = (row for row in found.pairs if row["method"] == "registered")
    assert right["dice_nearest"] == pytest.approx(1.0) and right["tre_mm"] == pytest.approx(0.0, abs=1e-4)
    assert wrong["dice_nearest"] == pytest.approx(4 / 8) and wrong["tre_mm"] == pytest.approx(6.0, abs=1e-4)


def test_summary_is_of_the_rows(shapes):
    source = read_cases(shapes)
    found = evaluate(source.cases, pair_up(source.cases, (0, 1, 2), "all"), ALONE, labels=(1, 2))
    values = [row["dice_nearest"] for row in found.pairs if row["method"] == "registered"]
    told = found.report["summary"]["registered"]["dice_nearest"]
    assert told["n"] == 6 and told["mean"] == pytest.approx(np.mean(values))
    assert told["sd"] == pytest.approx(np.std(values, ddof=1))
    of_label = [row["dice_nearest"] for row in found.labels if row["method"] == "registered" and row["label"] == 2]
    assert found.report["labels"]["2"]["dice_nearest"]["mean"] == pytest.approx(np.mean(of_label))


def test_what_cannot_be_evaluated(two):
    with pytest.raises(InputError, match="no pairs"):
        evaluate(two, [], ALONE)
    bare = [Case(case.name, case.image) for case in two]
    with pytest.raises(InputError, match="neither labels nor points"):
        evaluate(bare, [(0, 1)], ALONE)
    with pytest.raises(InputError, match=r"any of the labels \[9\]; their own are \[1, 2\]"):
        evaluate(two, [(0, 1)], ALONE, labels=(9,))


def test_images_that_share_no_place_are_refused(two, tmp_path):
    far = np.eye(4)
    far[:3, 3] = 500
    for path in (two[1].image, two[1].labels):
        found = load_image(path)
        save_image(path, found.data, Image(found.data, Grid(found.grid.shape, far)), labels=path == two[1].labels)
    with pytest.raises(InputError, match="share no place"):
        evaluate(two, [(0, 1)], ALONE)


def test_the_command_says_what_is_wrong(pack, shapes, tmp_path):
    def told(*options):
        done = CliRunner().invoke(app, ["evaluate", "--out", str(tmp_path / "out"), *options])
        return str(done.exception) + done.output

    assert "is a pack" in told("--data", str(pack.path))
    assert "Invalid value for '--pairs'" in told("--data", str(shapes), "--pairs", "cycle")
    assert "whole numbers joined by commas" in told("--data", str(shapes), "--labels", "a")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def test_a_run_is_evaluated_as_it_was_validated(recipe, pack, shapes, runs):
    """The command, on the run folder alone: its recipe's pairs, and the Dice that training told."""
    train(recipe, pack, runs / "shapes", Team(), say=lambda line: None)
    out = runs / "scores"
    done = CliRunner().invoke(
        app, ["evaluate", "--weights", str(runs / "shapes"), "--data", str(shapes), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert "Dice, nearest" in done.stdout and "identity" in done.stdout
    assert sorted(p.name for p in out.iterdir()) == ["labels.csv", "pairs.csv", "summary.json"]
    report = json.loads((out / "summary.json").read_text())
    best = json.loads((runs / "shapes" / "run.json").read_text())["state"]["best"]
    assert report["summary"]["registered"]["dice_nearest"]["mean"] == pytest.approx(best["dice"], abs=2e-3)
    assert report["weights"]["licence"] == "CC0" and len(report["weights"]["sha256"]) == 64
    rows = list(csv.DictReader((out / "pairs.csv").open()))
    assert [(row["moving"], row["fixed"]) for row in rows[::2]] == [("case_5", "case_4"), ("case_4", "case_5")]


def test_register_takes_a_run_as_it_is(recipe, pack, shapes, tmp_path, monkeypatch):
    train(recipe.with_changes(["run.steps=1"]), pack, tmp_path / "run", Team(), say=lambda line: None)
    monkeypatch.setattr(SACBNet, "forward", lambda self, moving, fixed: torch.zeros(1, 3, *fixed.shape[2:]))
    cases = read_cases(shapes).cases
    result = register(cases[4].image, cases[5].image, weights=str(tmp_path / "run"), affine="none")
    assert result.report["weights"]["name"] == "shapes" and result.report["working_grid"]["spacing_mm"] == 1
    assert result.report["weights"]["sha256"] == weights_hash(tmp_path / "run" / "best.safetensors")


def test_info_describes_runs_and_packs(recipe, pack, tmp_path):
    train(recipe.with_changes(["run.steps=1"]), pack, tmp_path / "run", Team(), say=lambda line: None)
    told = describe(tmp_path / "run")
    assert told["kind"] == "training run" and told["steps"] == "1 of 1" and "shapes" in told["recipe"]
    assert "dice" in told["best validation"] and told["weights"].endswith("best.safetensors")
    assert describe(pack.path)["cases"].startswith("6,") and describe(pack.path)["labels"] == "1, 2"
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(InputError, match="no whole training run"):
        describe(tmp_path / "run")
