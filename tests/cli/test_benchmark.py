"""The verb: what it takes, prints and ends with."""

from __future__ import annotations

import json

import pytest
import torch

from sacbnet.benchmark.report import Report
from sacbnet.benchmark.run import Benchmark

PLAN = """
name = "toy"
subset = "4:"
[[method]]
name = "identity"
weights = "none"
refine = 0
[[method]]
name = "SyN"
tool = "syn"
"""


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "toy.toml").write_text(PLAN)
    return tmp_path / "toy.toml"


def test_the_table_is_printed_and_failures_end_with_6(sacbnet, plan, shapes, tmp_path, fake_python):
    words = ["benchmark", plan, "--data", shapes, "--out", tmp_path / "out", "--threads", 3]
    before = torch.get_num_threads()
    failed = sacbnet(*words, "--tools-python", fake_python(broken="syn"))
    assert failed.code == 6 and "| identity | 2 |" in failed.out and "SyN failed" in failed.err
    assert failed.err.splitlines()[-1].startswith("sacbnet: error: SyN failed, wholly or in part")
    done = sacbnet(*words, "--tools-python", fake_python(), "--quiet")
    assert done.code == 0 and "| SyN | 2 |" in done.out and done.said == ""
    assert done.out.strip() == (tmp_path / "out" / "table.md").read_text().strip()
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["tool_threads"] == 3
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<img") == 4 == len(list((tmp_path / "out" / "pictures").iterdir()))
    again = sacbnet(*words, "--only", "syn", "--limit", 1)  # nothing is missing
    assert (
        again.code == 0 and "all 1 pairs are done" in again.err and "| identity | 1 |" in again.out
    )
    assert torch.get_num_threads() == before  # the verb may be run within a program


def test_options_are_those_of_the_plan(sacbnet, plan, recipe, shapes, tmp_path, monkeypatch):
    (tmp_path / "shapes.toml").write_text(recipe.to_toml())
    trained = (
        f'recipe = "{tmp_path / "shapes.toml"}"\n'
        + PLAN
        + '[[method]]\nname = "a"\ntrain = []\nseeds = [7]\n'
    )
    plan.write_text(trained)
    seen = []

    def instead(plan, setting, only, say, progress, watch):
        setting.out.mkdir(exist_ok=True)
        seen.append((plan, setting, only))
        where = {"device": "cpu", "threads": 1, "sacbnet": "0"}
        return Benchmark(Report(plan, where, "", 2), "table", signal=15)

    monkeypatch.setattr("sacbnet.benchmark.run.benchmark", instead)
    words = [
        "benchmark",
        plan,
        "--data",
        shapes,
        "--out",
        tmp_path / "out",
        "--only",
        "a",
        "--limit",
        2,
    ]
    done = sacbnet(*words, "--seeds", "3,4", "--steps", 5, "--set", "loss.window=5")
    assert done.code == 143 and "interrupted; the same command goes on" in done.err
    ((found, setting, only),) = seen
    assert found.steps == 5 and found.seeds_of(found.methods[2]) == (3, 4) and only == ["a"]
    assert setting.limit == 2 and setting.data == shapes
    assert [r.loss.window for r in found.recipes(found.methods[2], 3)] == [5]
    refused = sacbnet(*words, "--set", "loss.windows=5")
    assert refused.code == 3 and "loss.window" in refused.sentence() and len(seen) == 1


def test_what_is_wrong_is_one_sentence(sacbnet, plan, shapes, tmp_path):
    out = ("--data", shapes, "--out", tmp_path / "out")
    assert "the benchmark 'gone' is no file" in sacbnet("benchmark", "gone", *out).sentence()
    assert "--seeds is 'x'" in sacbnet("benchmark", plan, *out, "--seeds", "x").sentence()
    assert (
        "a Python that can be run"
        in sacbnet("benchmark", plan, *out, "--tools-python", "/no/such").sentence()
    )
    assert (
        "has no method 'b'; it has identity, SyN"
        in sacbnet("benchmark", plan, *out, "--only", "b").sentence()
    )
    assert not (tmp_path / "out").exists()
