"""Evaluation: numbers that are known beforehand, and the command."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import sacbnet.registration.initial
import sacbnet.registration.registrar
from sacbnet.benchmark.ledger import Ledger
from sacbnet.benchmark.method import Method
from sacbnet.benchmark.plan import Plan
from sacbnet.benchmark.run import Setting, _Work
from sacbnet.cli.main import app, main
from sacbnet.config.recipe import LossOptions
from sacbnet.config.registration import Options
from sacbnet.data.cases import Case, pair_up
from sacbnet.data.pack import PackOptions
from sacbnet.data.packing import build_pack
from sacbnet.data.source import read_cases
from sacbnet.data.subjects import Reader
from sacbnet.errors import InputError
from sacbnet.evaluation.run import ByRegistrar, evaluate
from sacbnet.imaging.image import Image
from sacbnet.io.images import load_image, save_image
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.networks.weights.load import save_weights, weights_hash
from sacbnet.registration.registrar import Registrar, register
from sacbnet.reporting.describe import describe
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine
from sacbnet.training.loop import train
from sacbnet.training.pairs import stored_pair
from sacbnet.training.team import Team
from sacbnet.training.validate import validate

FACTS = {
    "licence": "CC0",
    "trained_on": "nothing",
    "spacing_mm": 1,
    "intensity": "[0, 1]",
    "source": "a test",
}
ALONE = Options(weights="none", affine="none", refine=0)


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
        (folder / f"{name}.csv").write_text(
            "x,y,z\n" + "\n".join(",".join(map(str, p)) for p in points)
        )
    return Case(name, *paths, None if points is None else folder / f"{name}.csv")


def slabs(folder, name, where, shape=(24, 24, 24), origin=(0.0, 0.0, 0.0)):
    """label -> voxels along i, of the middle of the other axes."""
    labels = np.zeros(shape, np.uint8)
    for label, along in where.items():
        labels[along, 6:18, 6:18] = label
    affine = np.eye(4)
    affine[:3, 3] = origin
    like = Image(labels, Grid(shape, affine))
    paths = [folder / f"{name}{kind}.nii.gz" for kind in ("", "_labels")]
    save_image(paths[0], 50.0 * labels.astype(np.float32), like)
    save_image(paths[1], labels, like, labels=True)
    return Case(name, *paths)


@pytest.fixture
def shifts(tmp_path, monkeypatch):
    """Weights of a network that shifts everything two voxels of 24 up along i."""
    torch.manual_seed(0)
    save_weights(tmp_path / "w.safetensors", SACBNet(), FACTS)

    def shift(self, moving, fixed):
        u = torch.zeros(1, 3, *fixed.shape[2:])
        u[:, 0] = -2.0 * fixed.shape[2] / 24  # in voxels of whatever grid it is shown
        return u

    monkeypatch.setattr(SACBNet, "forward", shift)
    return str(tmp_path / "w.safetensors")


@pytest.fixture
def two(tmp_path):
    """The same boxes, two voxels of 1.5 mm apart along i; three landmarks (LPS) as far apart."""
    spacing = (1.5, 1.0, 2.0)
    at = np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0], [9.0, 8.0, 7.0]])
    return boxes(tmp_path, "a", 6, spacing, at), boxes(
        tmp_path, "b", 8, spacing, at - np.array([3.0, 0, 0])
    )


def test_the_identitys_numbers_are_known(two):
    found = evaluate(two, [(0, 1)], ALONE)
    before, after = found.pairs
    assert before["method"] == "identity" and after["method"] == "registered"
    for row in (before, after):
        assert row["dice_nearest"] == row["dice_onehot"] == pytest.approx(6 / 8)
        assert row["hd95_mm"] == pytest.approx(3.0)  # two voxels of 1.5 mm
        assert row["tre_mm"] == pytest.approx(3.0) and row["labels_absent"] == 0
    assert (
        after["folded_percent"]
        == after["non_diffeomorphic_percent"]
        == after["sd_log_jacobian"]
        == 0
    )
    assert after["seconds"] > 0 and after["peak_memory_mb"] > 0 and "seconds" not in before
    assert [row["label"] for row in found.labels] == [1, 2, 1, 2]


def test_a_case_with_itself_and_labels_that_are_not_there(two):
    found = evaluate(two, [(0, 0)], ALONE, labels=(1, 7))
    assert found.pairs[1]["dice_nearest"] == 1 and found.pairs[1]["hd95_mm"] == 0
    assert found.pairs[1]["labels_absent"] == 1 and [row["label"] for row in found.labels] == [1, 1]


def test_refinement_improves_on_the_identity(shapes):
    source = read_cases(shapes)
    found = evaluate(source.cases, [(0, 1)], Options(weights="none", affine="none", refine=10))
    assert found.pairs[1]["dice_nearest"] > found.pairs[0]["dice_nearest"] + 0.02
    assert found.pairs[1]["non_diffeomorphic_percent"] == 0


def test_a_known_shift_is_scored_the_right_way(two, shifts):
    """A network that says 'two voxels along i' is right for a on b and wrong for b on a."""
    found = evaluate(
        two,
        [(0, 1), (1, 0)],
        Options(weights=shifts, preset="fast", affine="none", spacing=1.0, box="whole"),
    )
    right, wrong = (row for row in found.pairs if row["method"] == "registered")
    assert right["dice_nearest"] == pytest.approx(1.0) and right["tre_mm"] == pytest.approx(
        0.0, abs=1e-4
    )
    assert wrong["dice_nearest"] == pytest.approx(4 / 8) and wrong["tre_mm"] == pytest.approx(
        6.0, abs=1e-4
    )


def test_every_method_is_scored_on_the_same_labels(tmp_path, shifts):
    """The shift makes label 1 perfect and throws 2 and 3 out of the image: they count as 0."""
    top, low = slice(22, 24), slice(0, 2)
    moving = slabs(tmp_path, "moving", {1: slice(8, 12), 2: top})
    fixed = slabs(tmp_path, "fixed", {1: slice(10, 14)})
    options = Options(weights=shifts, preset="fast", affine="none", box="whole")
    for asked in ((), (1, 2, 9)):
        found = evaluate([moving, fixed], [(0, 1)], options, labels=asked)
        before, after = found.pairs
        assert before["dice_nearest"] == before["dice_onehot"] == pytest.approx(0.25)
        assert after["dice_nearest"] == after["dice_onehot"] == pytest.approx(0.5)
        assert before["labels_absent"] == after["labels_absent"] == len(asked) // 3
        assert [row["label"] for row in found.labels] == [1, 2, 1, 2]
    both = [
        slabs(tmp_path, "m3", {1: slice(8, 12), 3: top}),
        slabs(tmp_path, "f3", {1: slice(10, 14), 3: low}),
    ]
    before, after = evaluate(both, [(0, 1)], options).pairs
    assert before["hd95_left_out"] == 0 and before["hd95_mm"] > 10
    assert (
        after["hd95_left_out"] == 1
        and after["hd95_mm"] == 0
        and after["dice_nearest"] == pytest.approx(0.5)
    )


def test_a_label_that_only_one_map_has_counts_as_nothing(tmp_path):
    found = evaluate(
        [slabs(tmp_path, "a", {1: slice(4, 9)}), slabs(tmp_path, "b", {2: slice(4, 9)})],
        [(0, 1), (0, 0)],
        ALONE,
        labels=(1,),
    )
    assert [row["dice_nearest"] for row in found.pairs] == [0, 0, 1, 1]


def test_summary_is_of_the_rows(shapes):
    source = read_cases(shapes)
    found = evaluate(source.cases, pair_up(source.cases, (0, 1, 2), "all"), ALONE, labels=(1, 2))
    values = [row["dice_nearest"] for row in found.pairs if row["method"] == "registered"]
    told = found.report["summary"]["registered"]["dice_nearest"]
    assert told["n"] == 6 and told["mean"] == pytest.approx(np.mean(values))
    assert told["sd"] == pytest.approx(np.std(values, ddof=1))
    of_label = [
        row["dice_nearest"]
        for row in found.labels
        if row["method"] == "registered" and row["label"] == 2
    ]
    assert found.report["labels"]["2"]["dice_nearest"]["mean"] == pytest.approx(np.mean(of_label))


def test_what_cannot_be_evaluated(two):
    with pytest.raises(InputError, match="no pairs"):
        evaluate(two, [], ALONE)
    bare = [Case(case.name, case.image) for case in two]
    with pytest.raises(InputError, match="neither labels nor points"):
        evaluate(bare, [(0, 1)], ALONE)
    with pytest.raises(InputError, match=r"any of the labels \[9\]; their own are \[1, 2\]"):
        evaluate(two, [(0, 1)], ALONE, labels=(9,))


def test_pairs_that_fail_are_noted_and_the_rest_goes_on(two, tmp_path):
    other = slabs(tmp_path, "other", {7: slice(4, 9)})
    broken = slabs(tmp_path, "broken", {1: slice(4, 9)})
    broken.image.write_bytes(broken.image.read_bytes()[:200])
    cases = [*two, other, broken, Case("bare", two[0].image)]
    found = evaluate(cases, [(3, 0), (0, 1), (2, 2), (4, 0), (1, 0)], ALONE, labels=(1,))
    assert [row["moving"] for row in found.pairs] == ["broken", "a", "a", "other", "bare", "b", "b"]
    failed = [row for row in found.pairs if "error" in row]
    for row, word in zip(
        failed,
        ("cannot be read", r"any of the labels [1]", "neither labels nor points"),
        strict=True,
    ):
        assert word in row["error"]
    assert (
        found.report["failed"] == 3 and found.report["pairs"] == 5 and found.report["scored"] == 2
    )
    assert found.report["errors"] == failed and not found.report["incomplete"]
    assert found.report["summary"]["registered"]["dice_nearest"]["n"] == 2


def test_the_command_tells_of_pairs_that_fail(two, tmp_path, capsys, monkeypatch):
    (tmp_path / "list.csv").write_text(
        "moving,fixed,moving_labels,fixed_labels\n"
        "b_labels.nii.gz,a.nii.gz,,a_labels.nii.gz\n"
        "a.nii.gz,b.nii.gz,a_labels.nii.gz,b_labels.nii.gz\n"
    )
    out = tmp_path / "out"
    words = [
        "evaluate",
        "--data",
        str(tmp_path / "list.csv"),
        "--pairs",
        "listed",
        "--affine",
        "none",
        "--refine",
        "0",
        "--out",
        str(out),
    ]
    monkeypatch.setattr("sys.argv", ["sacbnet", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert ended.value.code == 6
    assert "1 of 2 pairs, mean ± SD; 1 failed" in " ".join(told.out.split())
    assert "sacbnet: b_labels -> a: " in told.err and "1 of 2 pairs failed" in told.err
    rows = list(csv.DictReader((out / "pairs.csv").open()))
    assert list(rows[0])[:3] == ["moving", "fixed", "method"] and list(rows[0])[-1] == "error"
    assert "neither labels nor points" in rows[0]["error"] and [
        row["error"] for row in rows[1:]
    ] == ["", ""]
    report = json.loads((out / "summary.json").read_text())
    assert report["failed"] == 1 and report["errors"][0]["error"] == rows[0]["error"]
    told = describe(out)
    assert told["pairs"] == "1 of 2 scored, 1 failed"
    assert told["failed pair 1"] == f"b_labels -> a: {rows[0]['error']}"
    assert told["worst pairs by Dice"].startswith("a -> b: ")


@pytest.mark.parametrize("done", [0, 1])
def test_an_interrupted_evaluation_keeps_what_is_done(
    two, shapes, tmp_path, capsys, monkeypatch, done
):
    """Ctrl-C while the network runs on the second pair, or on the first, with nothing to keep."""
    work, calls = sacbnet.registration.registrar.estimate, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) > done:
            raise KeyboardInterrupt
        return work(*args)

    monkeypatch.setattr("sacbnet.registration.registrar.estimate", interrupted)
    out = tmp_path / "out"
    monkeypatch.setattr(
        "sys.argv",
        ["sacbnet", "evaluate", f"--data={shapes}", "--affine=none", "--refine=0", f"--out={out}"],
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    told = capsys.readouterr()
    if not done:
        assert "nothing was written" in told.err and not out.exists()
        return
    report = json.loads((out / "summary.json").read_text())
    assert (
        report["incomplete"] is True
        and report["scored"] == 1
        and report["pairs"] == 6
        and not report["failed"]
    )
    assert len(list(csv.DictReader((out / "pairs.csv").open()))) == 2
    assert (
        "interrupted; what was scored until then is in" in told.err and "1 of 6 pairs" in told.out
    )


def test_images_that_share_no_place_are_refused(two, tmp_path):
    far = np.eye(4)
    far[:3, 3] = 500
    for path in (two[1].image, two[1].labels):
        found = load_image(path)
        save_image(
            path,
            found.data,
            Image(found.data, Grid(found.grid.shape, far)),
            labels=path == two[1].labels,
        )
    with pytest.raises(InputError, match="share no place"):
        evaluate(two, [(0, 1)], ALONE)


@pytest.fixture
def apart(tmp_path):
    """Slabs in images of several sizes, in as many worlds, as a folder."""
    for kind in ("images", "labels"):
        (tmp_path / "set" / kind).mkdir(parents=True)
    for n, (size, at) in enumerate([(24, 7), (24, 9), (30, 11), (28, 8)]):
        made = slabs(
            tmp_path,
            f"c{n}",
            {1: slice(at, at + 8)},
            (size, 24, 24),
            (700.25 * n, 3.3 * n, -90.0 * n),
        )
        made.image.rename(tmp_path / "set" / "images" / f"c{n}.nii.gz")
        made.labels.rename(tmp_path / "set" / "labels" / f"c{n}.nii.gz")
    return tmp_path / "set"


def test_centres_are_brought_together_as_in_a_pack(apart, tmp_path):
    """Every pair, of equal and of unequal boxes: the baseline is the identity on the pack."""
    cases = read_cases(apart).cases
    pack = build_pack(cases, tmp_path / "set.pack", PackOptions(align="centre", shape=(40, 24, 24)))
    pairs = pair_up(cases, range(4), "all")
    found = evaluate(cases, pairs, ALONE, align="centre")
    assert found.report["failed"] == 0 and found.report["options"]["align"] == "centre"
    assert {row["method"] for row in found.pairs} == {"centre", "registered"}
    for pair, before, after in zip(pairs, found.pairs[::2], found.pairs[1::2], strict=True):
        told = validate(
            None, lambda n, pair=pair: stored_pair(pack, *pair), 1, (1,), LossOptions(), Team()
        )[0]["dice"]
        assert before["dice_nearest"] == after["dice_nearest"] == pytest.approx(told, abs=1e-6)
    assert found.pairs[0]["dice_nearest"] == pytest.approx(6 / 8)


def test_odd_differences_of_size_shift_by_whole_voxels(tmp_path):
    """24 and 25 voxels: half a voxel would put every label midway between two."""
    cases = [
        slabs(tmp_path, "even", {1: slice(8, 16)}, (24, 24, 24)),
        slabs(tmp_path, "odd", {1: slice(8, 16)}, (25, 24, 24), (400.0, 0.0, 0.0)),
    ]
    for pair in ((0, 1), (1, 0)):
        row = evaluate(cases, [pair], ALONE, align="centre").pairs[0]
        assert row["dice_nearest"] == row["dice_onehot"] and row["dice_nearest"] in (
            1,
            pytest.approx(7 / 8),
        )


def test_landmarks_follow_the_centres_and_an_affine_needs_none(two, tmp_path, monkeypatch):
    """The same image elsewhere in the world, its landmarks with it."""
    away = np.array([300.0, -20.0, 7.0])  # RAS
    found = load_image(two[0].image)
    affine = found.grid.affine.copy()
    affine[:3, 3] += away
    for path in (two[0].image, two[0].labels):
        data = load_image(path, "labels" if path == two[0].labels else "image").data
        save_image(
            tmp_path / f"away_{path.name}",
            data,
            Grid(data.shape, affine),
            labels=path == two[0].labels,
        )
    # files are LPS
    rows = np.loadtxt(two[0].points, delimiter=",", skiprows=1) + away * [-1, -1, 1]
    (tmp_path / "away.csv").write_text(
        "x,y,z\n" + "\n".join(",".join(map(str, row)) for row in rows)
    )
    names = [tmp_path / f"away_{path.name}" for path in (two[0].image, two[0].labels)]
    cases = [Case("away", *names, tmp_path / "away.csv"), two[0]]
    for pair in ((0, 1), (1, 0)):
        for row in evaluate(cases, [pair], ALONE, align="centre").pairs:
            assert row["dice_nearest"] == 1 and row["tre_mm"] == pytest.approx(0, abs=1e-4)
    seen = []
    monkeypatch.setattr(
        sacbnet.registration.initial,
        "align",
        lambda f, m, kind, **k: seen.append(m.grid.centre) or Affine.translation(away),
    )
    rigid = evaluate(
        cases, [(0, 1)], Options(weights="none", affine="rigid", refine=0), align="centre"
    )
    assert rigid.pairs[0]["method"] == "rigid" and rigid.report["options"]["align"] == "header"
    assert rigid.pairs[0]["tre_mm"] == pytest.approx(0, abs=1e-4)
    # where it was; empty slices at the ends are no part of what is aligned
    assert seen[0] == pytest.approx(found.grid.centre + away, abs=6)


def test_the_alignment_is_the_recipes(apart, recipe, tmp_path):
    chosen = recipe.with_changes(
        ["data.align=centre", "data.validation=0:2", "data.validation_pairs=all"]
    )
    (tmp_path / "recipe.toml").write_text(chosen.to_toml())
    words = [
        "evaluate",
        "--data",
        str(apart),
        "--recipe",
        str(tmp_path / "recipe.toml"),
        "--refine",
        "0",
    ]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert (
        json.loads((tmp_path / "out" / "summary.json").read_text())["options"]["align"] == "centre"
    )
    refused = CliRunner().invoke(
        app, [*words, "--out", str(tmp_path / "other"), "--align", "header"]
    )
    assert "share no place" in str(refused.exception) and not (tmp_path / "other").exists()


def test_what_is_scored_is_of_the_data_whatever_the_weights_were_trained_on(shapes, tmp_path):
    """Weights of a recipe that names label 1 and two cases: still all labels and all cases."""
    told = {"data": {"validation": "4:", "labels": [1], "align": "centre", "gone": 3}}
    save_weights(tmp_path / "w.safetensors", SACBNet(), FACTS | {"recipe": told})
    out = tmp_path / "out"
    words = ["evaluate", "--weights", str(tmp_path / "w.safetensors"), "--data", str(shapes)]
    done = CliRunner().invoke(app, [*words, "--affine", "none", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "scored 2 of 2 labels, 6 pairs (pairs and labels from the data)" in done.stdout
    rows = list(csv.DictReader((out / "pairs.csv").open()))
    assert [row["fixed"] for row in rows[::2]] == [f"case_{n}" for n in range(6)]
    report = json.loads((out / "summary.json").read_text())
    assert report["labels_scored"] == [1, 2] and report["labels_missing"] == []


def test_labels_that_no_pair_has_are_warned_of(shapes, tmp_path):
    words = ["evaluate", "--data", str(shapes), "--affine", "none", "--refine", "0"]
    done = CliRunner().invoke(app, [*words, "--labels", "1,2,9", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "scored 2 of 3 labels, 6 pairs" in done.stdout
    assert "no pair has the labels 9, which were asked for (by --labels)" in done.stderr


@pytest.mark.parametrize(
    ("options", "origin"),
    [
        (("--subset", "nobody"), "--subset, else the data"),
        (("--recipe", "hippocampus"), "the recipe hippocampus"),
        (("--recipe", "hippocampus", "--pairs", "atlas"), "--pairs, else the recipe hippocampus"),
    ],
)
def test_messages_about_a_subset_say_where_it_came_from(shapes, tmp_path, options, origin):
    words = ["evaluate", "--data", str(shapes), "--out", str(tmp_path / "out"), *options]
    done = CliRunner().invoke(app, words)
    assert f"subset and pairs come from {origin})" in str(done.exception)


def test_the_same_bytes_through_every_door(shapes, recipe, pack, tmp_path):
    """`register`, `Registrar`, `evaluate` and `benchmark` deliver one transform for one pair."""
    train(
        recipe.with_changes(["run.steps=2"]), pack, tmp_path / "run", Team(), say=lambda line: None
    )
    options = {"weights": str(tmp_path / "run"), "affine": "none", "refine": 2}
    cases = read_cases(shapes).cases
    registrar = Registrar(**options)
    moving, fixed = Reader(cases)(1), Reader(cases)(0)
    scored = ByRegistrar(registrar)(fixed=fixed, moving=moving).transform
    method = Method("mine", weights=str(tmp_path / "run"), refine=2, repair=True)
    plan = Plan(methods=(method,))
    work = _Work(plan, Setting(shapes, tmp_path / "b"), cases, (), Ledger(tmp_path / "b"), print)
    benchmarked = work.prepare(method, None)[0](fixed=fixed, moving=moving).transform
    pair = {"fixed": cases[0].image, "moving": cases[1].image}
    whole = registrar.register(**pair)
    assert whole.report.working_grid.box == "whole"  # the box of the training
    for other in (register(**pair, **options), scored, benchmarked):
        found = getattr(other, "transform", other)
        assert np.array_equal(found.displacement_mm, whole.transform.displacement_mm)
    assert np.abs(whole.transform.displacement_mm).max() > 0


def test_a_limit_takes_pairs_of_many_images(shapes, tmp_path):
    words = [
        "evaluate",
        "--data",
        str(shapes),
        "--affine",
        "none",
        "--refine",
        "0",
        "--limit",
        "3",
        "--out",
        str(tmp_path / "out"),
    ]
    assert CliRunner().invoke(app, words).exit_code == 0
    rows = list(csv.DictReader((tmp_path / "out" / "pairs.csv").open()))
    assert len(rows) == 6 and len({row["fixed"] for row in rows}) == 3
    told = describe(tmp_path / "out")
    last = sorted((row for row in rows if row["method"] == rows[-1]["method"]), key=_dice)
    assert told["worst pairs by Dice"].splitlines() == [
        f"{row['moving']} -> {row['fixed']}: {_dice(row):.4f}" for row in last
    ]
    numbers = json.loads((tmp_path / "out" / "summary.json").read_text())["summary"]
    found = numbers[last[0]["method"]]["dice_nearest"]
    assert told[f"{last[0]['method']}: Dice, nearest"] == (
        f"{found['mean']:.4f} ± {found['sd']:.4f} (n = 3)"
    )
    for damage in ("{", "{}", '{"weights": 3}', "[" * 10_000):
        (tmp_path / "out" / "summary.json").write_text(damage)
        with pytest.raises(InputError, match="no whole folder of scores"):
            describe(tmp_path / "out")


def _dice(row) -> float:
    return float(row["dice_nearest"])


def test_the_command_says_what_is_wrong(pack, shapes, tmp_path):
    def told(*options):
        done = CliRunner().invoke(app, ["evaluate", "--out", str(tmp_path / "out"), *options])
        return str(done.exception) + done.output

    assert "is a pack" in told("--data", str(pack.path))
    assert "Invalid value for '--pairs'" in told("--data", str(shapes), "--pairs", "cycle")
    assert "whole numbers with commas between them" in told("--data", str(shapes), "--labels", "a")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def test_a_run_is_evaluated_as_it_was_validated(recipe, pack, shapes, runs):
    """The command, on the run folder: its recipe's pairs, and the Dice that training told."""
    train(recipe, pack, runs / "shapes", Team(), say=lambda line: None)
    out = runs / "scores"
    done = CliRunner().invoke(
        app,
        [
            "evaluate",
            f"--weights={runs / 'shapes'}",
            f"--recipe={runs / 'shapes'}",
            "--no-repair",
            f"--data={shapes}",
            f"--out={out}",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "Dice, nearest" in done.stdout and "identity" in done.stdout
    assert sorted(p.name for p in out.iterdir()) == [
        "index.html",
        "labels.csv",
        "pairs.csv",
        "summary.json",
    ]
    report = json.loads((out / "summary.json").read_text())
    best = json.loads((runs / "shapes" / "run.json").read_text())["state"]["best"]
    assert report["summary"]["registered"]["dice_nearest"]["mean"] == pytest.approx(
        best["dice"], abs=2e-3
    )
    assert report["weights"]["licence"] == "CC0" and len(report["weights"]["sha256"]) == 64
    rows = list(csv.DictReader((out / "pairs.csv").open()))
    assert [(row["moving"], row["fixed"]) for row in rows[::2]] == [
        ("case_5", "case_4"),
        ("case_4", "case_5"),
    ]


def test_register_takes_a_run_as_it_is(recipe, pack, shapes, tmp_path, monkeypatch):
    train(
        recipe.with_changes(["run.steps=1"]), pack, tmp_path / "run", Team(), say=lambda line: None
    )
    monkeypatch.setattr(
        SACBNet, "forward", lambda self, moving, fixed: torch.zeros(1, 3, *fixed.shape[2:])
    )
    cases = read_cases(shapes).cases
    result = register(
        fixed=cases[4].image, moving=cases[5].image, weights=str(tmp_path / "run"), affine="none"
    )
    assert result.report.weights.name == "shapes" and result.report.working_grid.spacing_mm == 1
    assert result.report.weights.sha256 == weights_hash(tmp_path / "run" / "best.safetensors")


def test_info_describes_runs_and_packs(recipe, pack, tmp_path):
    train(
        recipe.with_changes(["run.steps=1"]), pack, tmp_path / "run", Team(), say=lambda line: None
    )
    told = describe(tmp_path / "run")
    assert (
        told["kind"] == "training run" and told["steps"] == "1 of 1" and "shapes" in told["recipe"]
    )
    assert "Dice" in told["best validation"] and told["weights"].endswith("best.safetensors")
    told = describe(pack.path)
    assert told["cases"].startswith("6,") and told["labels"] == "1, 2"
    assert told["holds"] == "images of 16 bits" and told["made of"] == "12 files"
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(InputError, match="no whole training run"):
        describe(tmp_path / "run")
