"""Weights and training runs in words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sacbnet.config.recipe import Recipe
from sacbnet.errors import InputError
from sacbnet.networks.weights.catalogue import entries, entry_of
from sacbnet.networks.weights.load import describe_weights
from sacbnet.reporting.trained import differences, scores_line, training_facts, weights_facts

STATE = {
    "step": 100,
    "seconds": 200.0,
    "sessions": 2,
    "baseline": {"dice": 0.25, "loss": float("nan")},
    "best": {"step": 90, "dice": 0.5, "folded_percent": 1.234},
    "warnings": [],
}


def test_every_weight_of_the_package_is_described_in_words() -> None:
    for entry in entries():
        facts = weights_facts(describe_weights(entry.path), entry)
        assert facts["terms"] == entry.licence_text and entry.licence in facts["licence"]
        assert all(facts.values()) and not any("{" in value for value in facts.values())
        changed = weights_facts(replace(describe_weights(entry.path), sha256="0"), entry)
        assert "differs" in changed["catalogue"]
    assert entry_of(entries()[0].path) == entries()[0]


def test_only_what_differs_from_the_defaults_is_listed() -> None:
    recipe = Recipe().to_dict()
    assert differences(recipe) == []
    recipe["run"] = {**recipe["run"], "steps": 7, "seed": 5}
    recipe["loss"] = {**recipe["loss"], "window": 5}
    assert sorted(differences(recipe)) == ["loss: window 5", "run: steps 7, seed 5"]


def test_scores_are_one_line() -> None:
    line = "Dice 0.5000, folded voxels 1.23 %, after 90 steps"
    assert scores_line(STATE["best"]) == line
    assert scores_line(STATE["baseline"]) == "Dice 0.2500" and scores_line({}) == ""


def test_a_run_tells_how_long_the_rest_takes(tmp_path) -> None:
    recipe = Recipe().to_dict()
    recipe["run"] = {**recipe["run"], "steps": 400}
    report = {"state": STATE, "recipe": recipe, "data": {"cases": 6, "labels": [1, 2]}}
    (tmp_path / "run.json").write_text(json.dumps(report))
    (tmp_path / "metrics.csv").write_text("step,validation_dice\n10,.3\n20,\n30,.5\n40,.4\n")
    told = training_facts(tmp_path)
    assert told["steps"] == "100 of 400; the rest takes about 10 min"
    assert told["time"] == "3 min in 2 sessions, 2.00 s a step"
    assert told["validations"] == "Dice 0.3000 at step 10 ▁█▅ 0.4000 at step 40"
    assert told["data"] == "6 cases, 2 labels"
    report["state"] = STATE | {"step": 400}
    (tmp_path / "run.json").write_text(json.dumps(report))
    assert training_facts(tmp_path)["steps"] == "400 of 400"
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(InputError, match="no whole training run"):
        training_facts(tmp_path)
