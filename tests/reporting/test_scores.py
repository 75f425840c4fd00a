"""`info` on folders with scores: of evaluate, benchmark and cohort."""

from __future__ import annotations

import json

import pytest

from sacbnet.errors import InputError
from sacbnet.reporting.scores import scores

MEAN = {"mean": 0.75, "sd": 0.1, "n": 3}


def written(folder, summary):
    (folder / "summary.json").write_text(json.dumps(summary))
    return scores(folder)


def test_a_benchmark(tmp_path) -> None:
    told = written(
        tmp_path,
        {
            "benchmark": {"name": "toy", "about": ""},
            "environment": {"sacbnet": "1"},
            "pairs": 3,
            "incomplete": True,
            "methods": {"SyN": {"numbers": {"dice_nearest": MEAN}}},
            "failed": [{"method": "greedy", "error": "it is not installed"}],
        },
    )
    assert told["kind"] == "benchmark" and told["pairs"] == "3; not finished"
    assert told["SyN: Dice, nearest"] == "0.7500 ± 0.1000 (n = 3)"
    assert told["failed 1"] == "greedy: it is not installed" and "about" not in told


def test_a_cohort(tmp_path) -> None:
    rows = [
        {"name": "a", "status": "done", "verdict": "good", "reasons": "", "error": ""},
        {"name": "b", "status": "done", "verdict": "check", "reasons": "turned", "error": ""},
        {"name": "c", "status": "failed", "verdict": "", "reasons": "", "error": "missing"},
    ]
    summary = {
        "sacbnet": "1",
        "options": {"preset": "fast"},
        "weights": {"name": "brain"},
        "pairs": 5,
        "done": 2,
        "failed": 1,
        "skipped": 0,
        "waiting": 2,
        "expected_seconds": 600.0,
        "outcomes": rows,
    }
    (tmp_path / "index.html").write_text("")
    told = written(tmp_path, summary)
    assert told["pairs"] == "5: 2 done, 0 skipped, 1 failed, 2 not done yet"
    assert told["verdicts"] == "1 good, 1 check" and told["the rest takes"] == "about 10 min"
    assert told["look at 1"] == "b: check: turned" and told["failed pair 1"] == "c: missing"
    assert "index.html" in told["page"]


@pytest.mark.parametrize("summary", [[], {}, {"outcomes": 3}, {"benchmark": {}}])
def test_other_files_are_refused(tmp_path, summary) -> None:
    with pytest.raises(InputError, match="no whole folder of scores"):
        written(tmp_path, summary)
