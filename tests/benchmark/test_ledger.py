"""What a benchmark keeps on the disk."""

from __future__ import annotations

import json
import math

import pytest

from sacbnet.benchmark.facts import Facts, Failure
from sacbnet.benchmark.ledger import LABELS, OF_PAIRS, PAIRS, Ledger
from sacbnet.errors import InputError

ROW = {
    "method": "registered",
    "dice_nearest": 1 / 3,
    "hd95_left_out": 2,
    "hd95_mm": math.nan,
    "labels_absent": 0,
}
NAMES = {"moving": "a", "fixed": "b, of two"}
OF_LABELS = [{"method": "registered", "label": n, "dice_nearest": n / 7} for n in (3, 10)]


@pytest.fixture
def filled(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.begin("ours", {"x": {"steps": 5}, "seeds": (1, 2)})
    ledger.tell("ours", 0, Facts(parameters=7, training_seconds=60.0), [])
    ledger.add("ours", 0, NAMES, ROW, OF_LABELS)
    ledger.save()
    return tmp_path


def test_read_back_as_it_was(filled):
    again, first = Ledger(filled), Ledger(filled)
    first.add("ours", 0, NAMES, ROW, OF_LABELS)
    for labels in (False, True):
        (mine, *_), (theirs, *_) = (
            ledger.rows({("a", "b, of two")}, labels) for ledger in (again, first)
        )
        assert str(sorted(mine.items())) == str(sorted(theirs.items()))  # nan is not nan
    (row,) = again.rows({("a", "b, of two")})
    assert (
        row["method"] == "ours"
        and row["seed"] == "0"
        and row["dice_nearest"] == pytest.approx(1 / 3, abs=1e-7)
    )
    assert math.isnan(row["hd95_mm"]) and "tre_mm" not in row
    assert [r["label"] for r in again.rows({("a", "b, of two")}, labels=True)] == ["3", "10"]
    assert (
        again.has("ours", 0, NAMES)
        and not again.has("ours", 1, NAMES)
        and not again.has("ours", None, NAMES)
    )
    assert again.rows({("b", "a")}) == [] and again.facts("ours").training_minutes == 1


def test_labels_without_their_pair_are_dropped(filled):
    """After a kill between the two files the pair counts as not done; no label appears twice."""
    (filled / PAIRS).write_text((filled / PAIRS).read_text().splitlines(keepends=True)[0])
    ledger = Ledger(filled)
    assert not ledger.has("ours", 0, NAMES) and ledger.rows({("a", "b, of two")}, labels=True) == []
    ledger.add("ours", 0, NAMES, ROW, OF_LABELS)
    ledger.save()
    assert len((filled / LABELS).read_text().splitlines()) == 3
    (filled / PAIRS).write_text((filled / PAIRS).read_text().splitlines(keepends=True)[0])
    Ledger(filled).save()
    assert len((filled / LABELS).read_text().splitlines()) == 1


@pytest.mark.parametrize("waits", [False, True])
def test_scores_are_written_after_a_pause(tmp_path, monkeypatch, waits):
    monkeypatch.setattr("sacbnet.benchmark.ledger.PAUSE", 1e6 if waits else -1)
    ledger = Ledger(tmp_path)
    ledger.begin("ours", {})
    ledger.add("ours", 0, NAMES, ROW, OF_LABELS)
    assert (tmp_path / PAIRS).exists() == (tmp_path / LABELS).exists() == (not waits)
    assert Ledger(tmp_path).has("ours", 0, NAMES) == (not waits)


def test_another_definition_is_refused_where_there_are_scores(filled):
    Ledger(filled).begin("ours", {"x": {"steps": 5}, "seeds": (1, 2)})
    with pytest.raises(InputError, match=r"ours as it was before \(x.steps: 5, now 6\)"):
        Ledger(filled).begin("ours", {"x": {"steps": 6}, "seeds": (1, 2)})
    # of a version that has more options
    Ledger(filled).begin("ours", {"x": {"steps": 5, "new": 0}, "seeds": (1, 2)})
    ledger = Ledger(filled)
    ledger.begin("new", {"x": 1})
    ledger.begin("new", {"x": 2})  # no scores yet
    assert ledger.methods["new"].definition == {"x": 2}


def test_another_version_of_a_tool_is_refused_where_there_are_scores(filled):
    ledger = Ledger(filled)
    ledger.begin("syn", {})
    ledger.tell("syn", None, Facts(tool="antspyx 1"), [Failure("syn", "", "x")])
    ledger.tell("syn", None, Facts(tool="antspyx 2"))
    assert ledger.failures("syn") == [Failure("syn", "", "x")]
    ledger.add("syn", None, NAMES, ROW, [])
    ledger.tell("syn", None, Facts(tool="antspyx 2"), [])
    with pytest.raises(InputError, match="by antspyx 2; it is antspyx 3 now"):
        ledger.tell("syn", None, Facts(tool="antspyx 3"))
    assert ledger.failures("syn") == []


def test_facts_and_failures_are_read_back(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.begin("net", {"x": 1})
    facts = Facts(steps=5, training_seconds=90.0, parameters=7)
    failed = [Failure("net", "3", "one"), Failure("net", "3", "two", "a", "b")]
    ledger.tell("net", 3, facts, failed)
    ledger.save()
    kept = json.loads((tmp_path / "methods.json").read_text())["net"]
    assert kept["facts"] == {"3": {"steps": 5, "training_seconds": 90.0, "parameters": 7}}
    assert kept["failed"] == {
        "3": [{"error": "one"}, {"moving": "a", "fixed": "b", "error": "two"}]
    }
    again = Ledger(tmp_path)
    assert again.failures("net") == failed and again.facts("net") == ledger.facts("net")
    assert again.facts("net").to_dict() == {
        "parameters": 7,
        "steps": 5,
        "training_minutes": 1.5,
        "seeds": kept["facts"],
    }


def test_files_of_others_are_refused(tmp_path):
    (tmp_path / PAIRS).write_text("moving,fixed,method\na,b,c\n")
    with pytest.raises(InputError, match="no table of sacbnet benchmark"):
        Ledger(tmp_path)
    header = ",".join(OF_PAIRS)
    for rows in (b"a", b"a,b,c" + b",x" * len(OF_PAIRS), b"\xff\xfe", b'"' + b"a" * 200_000):
        (tmp_path / PAIRS).write_bytes(header.encode() + b"\n" + rows + b"\n")
        with pytest.raises(InputError, match="damaged table of sacbnet benchmark"):
            Ledger(tmp_path)
    (tmp_path / PAIRS).unlink()
    for text in ("{", "[" * 100_000, "[]", '{"ours": {"facts": {}}}', '{"ours": 3}'):
        (tmp_path / "methods.json").write_text(text)
        with pytest.raises(InputError, match=r"methods.json is no file of sacbnet benchmark"):
            Ledger(tmp_path)
