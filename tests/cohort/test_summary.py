"""The account of a cohort: how far it is, and how long the rest will take."""

from __future__ import annotations

import csv
import json

from sacbnet.cohort.summary import Cohort, Outcome
from sacbnet.config.registration import Options


def outcome(name, status="done", seconds=None):
    return Outcome(name, f"{name}_f.nii", f"{name}_m.nii", status, seconds=seconds)


def test_the_rest_takes_as_long_as_the_pairs_before_it(tmp_path):
    rows = [outcome("a", seconds=2.0), outcome("b", "failed"), outcome("c", "skipped", 4.0)]
    cohort = Cohort(7, Options(), None, rows)
    cohort.write(tmp_path)
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["pairs"] == 7 and told["waiting"] == 4
    assert told["expected_seconds"] == 4 * 3.0  # the mean of 2 and 4 s for each
    assert (told["done"], told["failed"], told["skipped"]) == (1, 1, 1)
    with (tmp_path / "summary.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == ["a", "b", "c"] and table[0]["seconds"] == "2"


def test_nothing_is_expected_before_the_first_pair():
    assert Cohort(3, Options(), None).to_json()["expected_seconds"] is None
