"""Benchmarks: what comes out, that it goes on where it was, and that what fails is told."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

import sacbnet.benchmark.trainings
from sacbnet.benchmark.plan import plan_from_dict
from sacbnet.benchmark.run import Setting, benchmark
from sacbnet.config.recipe import read_recipe
from sacbnet.config.registration import Options
from sacbnet.data.source import read_cases
from sacbnet.errors import InputError
from sacbnet.evaluation.run import ByRegistrar, evaluate
from sacbnet.networks.weights.load import describe_weights
from sacbnet.training.checkpoint import State
from sacbnet.training.loop import Outcome

IDENTITY = {"name": "identity", "weights": "none", "refine": 0}
OURS = {"name": "ours", "train": []}
BARE = {"name": "no SACB", "train": ["model.sacb_levels=[]"]}
TOOL = {"name": "SyN", "tool": "syn"}


@pytest.fixture
def toy(recipe, tmp_path):
    """toy(method, ..., option=...): a plan on the six shapes, of which two are scored."""
    path = tmp_path / "shapes.toml"
    path.write_text(recipe.to_toml())

    def make(*methods, **more):
        return plan_from_dict(
            {"name": "toy", "recipe": str(path), "steps": 2, "method": list(methods)} | more
        )

    return make


@pytest.fixture
def run(shapes, tmp_path):
    """Run a plan into tmp_path/out; what it said is run.lines."""

    def go(plan, only=(), out="out", **more):
        go.lines = []
        setting = Setting(shapes, tmp_path / out, device="cpu", threads=3, **more)
        return benchmark(plan, setting, only, go.lines.append)

    return go


def rows_of(folder, name="pairs.csv"):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def forbid(monkeypatch, *names):
    def never(*args, **more):
        raise AssertionError("it was done already")

    for name in names:
        monkeypatch.setattr(f"sacbnet.benchmark.{name}", never)


def test_methods_beside_each_other(toy, run, shapes, tmp_path, fake_python, monkeypatch):
    """Methods of all kinds; the numbers are those of evaluate; a second run repeats nothing."""
    plan = toy(OURS, BARE, TOOL, IDENTITY)
    found = run(plan, python=fake_python())
    out = tmp_path / "out"
    assert found.signal == 0 and not found.report.incomplete and found.report.failed == ()
    rows = rows_of(out)
    assert [(r["method"], r["seed"]) for r in rows[::2]] == [
        ("ours", "0"),
        ("no SACB", "0"),
        ("SyN", ""),
        ("identity", ""),
    ]
    assert {(r["moving"], r["fixed"]) for r in rows} == {("case_5", "case_4"), ("case_4", "case_5")}
    weights = out / "ours" / "seed-0" / "last.safetensors"
    cases = read_cases(shapes).cases
    options = Options(weights=str(weights), affine="none", preset="fast", repair=False)
    expected = evaluate(cases, [(5, 4), (4, 5)], options)
    for name in (
        "dice_nearest",
        "dice_onehot",
        "hd95_mm",
        "sd_log_jacobian",
        "non_diffeomorphic_percent",
    ):
        after = [row[name] for row in expected.pairs if row["method"] == "registered"]
        assert [float(r[name]) for r in rows if r["method"] == "ours"] == pytest.approx(
            after, rel=1e-5
        )
        before = [row.get(name, 0) for row in expected.pairs if row["method"] == "identity"]
        assert [float(r[name]) for r in rows if r["method"] == "identity"] == pytest.approx(
            before, rel=1e-5
        )
    assert {int(float(r["parameters"])) for r in rows if r["method"] == "ours"} == {
        describe_weights(weights).parameters
    }
    assert [r["seconds"] for r in rows if r["method"] == "SyN"] == ["1.5", "1.5"]
    assert len(rows_of(out, "labels.csv")) == 4 * 2 * 2
    report = json.loads((out / "summary.json").read_text())
    assert list(report["methods"]) == ["ours", "no SACB", "SyN", "identity"]
    assert (
        report["methods"]["SyN"]["tool"] == "fake-syn 1.0"
        and report["methods"]["ours"]["steps"] == 2
    )
    told = (out / "table.md").read_text()
    assert (
        told == found.table
        and [line[2:9] for line in told.splitlines() if line.startswith("| ")][1] == "ours | "
    )
    assert (out / "boxplots.png").stat().st_size > 5_000
    # one for all
    assert not (out / "ours" / "seed-0" / "data.pack").exists() and (out / "data.pack").exists()
    assert read_recipe(out / "no-sacb" / "seed-0" / "recipe.toml").model.sacb_levels == ()

    files = {path: path.read_bytes() for path in out.glob("*") if path.is_file()}
    forbid(monkeypatch, "trainings.train", "run.outcomes", "run.Tool", "run.ByRegistrar")
    assert run(plan, python="gone").table == told
    assert {path: path.read_bytes() for path in files} == files
    with pytest.raises(
        InputError, match=r"holds scores of ours as it was before .*steps: 2, now 3"
    ):
        run(replace(plan, steps=3))


def test_what_is_missing_is_done(toy, run, tmp_path, fake_python, monkeypatch):
    """More pairs, seeds and methods later: the trainings and scores that there are stay."""
    plan = toy(IDENTITY, OURS, TOOL)
    first = run(plan, only=["ours"], limit=1)
    assert [row["method"] for row in rows_of(tmp_path / "out")] == [
        "ours"
    ] and first.report.pairs == 1
    assert "- SyN: not run yet." in first.table and list(first.report.facts) == ["ours"]
    calls, real = [], sacbnet.benchmark.trainings.train
    monkeypatch.setattr(
        "sacbnet.benchmark.trainings.train",
        lambda *a, **k: calls.append(a[0].run.seed) or real(*a, **k),
    )
    found = run(replace(plan, seeds=(0, 1)), python=fake_python())
    assert calls == [1]
    assert [(r["method"], r["seed"]) for r in rows_of(tmp_path / "out")] == [
        ("ours", "0"), ("identity", ""), ("identity", ""), ("ours", "0"), ("SyN", ""), ("SyN", ""),
        ("ours", "1"), ("ours", "1"),
    ]  # fmt: skip
    assert list(found.report.facts) == ["identity", "ours", "SyN"]
    assert set(found.report.standings[1].by_seed) == {"0", "1"} and "by seed" in found.table
    with pytest.raises(InputError, match="has no method 'greedy'; it has identity, ours, SyN"):
        run(plan, only=["greedy"])


def test_what_fails_is_told_and_the_rest_goes_on(toy, run, tmp_path, fake_python, monkeypatch):
    real, broken = sacbnet.benchmark.trainings.train, [True]

    def training(recipe, *args, **more):
        if broken[0] and recipe.model.sacb_levels == ():
            raise RuntimeError("out of\nmemory")
        return real(recipe, *args, **more)

    monkeypatch.setattr("sacbnet.benchmark.trainings.train", training)
    plan = toy(
        IDENTITY,
        BARE,
        TOOL,
        {"name": "lost", "weights": "no-such-weights"},
        {"name": "greedy", "tool": "greedy"},
    )
    found = run(plan, python=fake_python(broken="syn"))
    told = {row.method: row.error for row in found.report.failed}
    assert told["no SACB"] == "RuntimeError: out of memory" and "has no syn" in told["SyN"]
    assert "no-such-weights" in told["lost"] and set(told) == {"no SACB", "SyN", "lost"}
    assert (
        "- no SACB, seed 0 failed: RuntimeError" in found.table
        and "| identity | 2 |" in found.table
    )
    assert "| greedy | 2 |" in found.table and not found.report.incomplete
    broken[0] = False
    again = run(plan, only=["no SACB"])
    assert {row.method for row in again.report.failed} == {
        "SyN",
        "lost",
    } and "| no SACB | 2 |" in again.table


def test_a_pair_that_fails_is_told_and_tried_again(toy, run, tmp_path, fake_python):
    found = run(toy(IDENTITY, TOOL), python=fake_python(moves=5))
    assert [row["method"] for row in rows_of(tmp_path / "out")] == ["identity", "identity"]
    assert [row.moving for row in found.report.failed] == ["case_5", "case_4"]
    assert "- SyN, case_5 -> case_4 failed: the transform of syn" in found.table
    again = run(toy(IDENTITY, TOOL), python=fake_python())
    assert again.report.failed == () and "| SyN | 2 |" in again.table


def test_interrupted_it_leaves_whole_files_and_goes_on(toy, run, tmp_path, monkeypatch):
    plan, real, calls = toy(IDENTITY, OURS), ByRegistrar.__call__, []

    def interrupted(self, *, fixed, moving):
        calls.append(moving.case.name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, fixed=fixed, moving=moving)

    monkeypatch.setattr(ByRegistrar, "__call__", interrupted)
    found = run(plan)
    assert found.signal == 2 and found.report.incomplete and "Not finished" in found.table
    assert len(rows_of(tmp_path / "out")) == 3 and "| ours | 1 of 2 |" in found.table
    forbid(monkeypatch, "trainings.train")
    whole = run(plan)
    assert len(calls) == 5 and not whole.report.incomplete
    monkeypatch.undo()
    other = run(plan, out="other")
    assert [s.numbers["dice_nearest"].mean for s in whole.report.standings] == [
        s.numbers["dice_nearest"].mean for s in other.report.standings
    ]


def test_a_signal_ends_a_training_and_the_work(toy, run, monkeypatch):
    monkeypatch.setattr(
        "sacbnet.benchmark.trainings.train", lambda *a, **k: Outcome(State(step=1), False, 15)
    )
    found = run(toy(IDENTITY, OURS, BARE))
    assert (
        found.signal == 15 and found.report.incomplete and list(found.report.facts) == ["identity"]
    )
    assert found.report.failed == ()


def test_stages_begin_with_the_weights_before(toy, run, tmp_path):
    stages = [{"train": ["model.clusters=2"]}, {"train": ["model.clusters=3"]}]
    found = run(toy({"name": "staged", "train": [], "stage": stages}))
    first, second = (tmp_path / "out" / "staged" / "seed-0" / f"stage-{n}" for n in (1, 2))
    assert read_recipe(first / "recipe.toml").run.start_from == ""
    chosen = read_recipe(second / "recipe.toml")
    assert chosen.run.start_from == str(first / "last.safetensors") and chosen.model.clusters == (
        3,
        3,
        3,
        3,
    )
    assert found.report.facts["staged"].steps == 2 and len(rows_of(tmp_path / "out")) == 2


def test_a_training_by_another_recipe_is_not_taken(toy, run, tmp_path):
    run(toy(OURS))
    for name in ("pairs.csv", "labels.csv", "methods.json"):
        (tmp_path / "out" / name).unlink()
    found = run(toy({"name": "ours", "train": ["loss.noise=0.5"]}))
    assert "was trained with another recipe (loss.noise differ)" in found.report.failed[0].error


def test_what_cannot_be_benchmarked(toy, run, pack, tmp_path):
    with pytest.raises(InputError, match="is a pack"):
        benchmark(toy(OURS), Setting(pack.path, tmp_path / "out"))
    with pytest.raises(InputError, match="means none of the 6 cases"):
        run(toy(IDENTITY, subset="S*"))
    assert not (tmp_path / "out" / "pairs.csv").exists()
