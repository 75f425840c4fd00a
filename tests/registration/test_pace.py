"""The time of a run is told by earlier runs of the same kind."""

from __future__ import annotations

import json

import pytest

from sacbnet import register
from sacbnet.registration import pace
from sacbnet.registration.pace import Forecast, Work, about, forecast, remember

from .conftest import ball

WORK = Work({"network": 2.0, "rest": 4.0}, {"network": "a", "rest": "b"}, {"network": 3, "rest": 1})


def test_without_earlier_runs_the_usual_rates_count(tmp_path) -> None:
    found = forecast(WORK, tmp_path / "pace.json")
    assert found == Forecast(10.0, known=False)
    assert str(found) == "about 10 s in all (this machine may differ)"


def test_the_runs_nearest_in_size_count(tmp_path) -> None:
    file = tmp_path / "pace.json"
    seconds = {"network": 8.0, "measure": 1.0, "resample": 3.0, "read": 99.0, "total": 12.0}
    remember(WORK, seconds, file)
    assert forecast(WORK, file) == Forecast(12.0, known=True)
    twice = Work({"network": 4.0, "rest": 8.0}, WORK.kinds, WORK.usual)
    assert forecast(twice, file).seconds == pytest.approx(24)
    small = Work({"network": 0.1, "rest": 0.1}, WORK.kinds, WORK.usual)
    for _ in range(5):  # small pairs take longer per voxel: they say nothing of large ones
        remember(small, {"network": 5.0, "measure": 5.0}, file)
    for _ in range(2):
        remember(WORK, seconds, file)
    assert forecast(WORK, file).seconds == pytest.approx(12)
    assert forecast(small, file).seconds == pytest.approx(10)
    other = Work(WORK.sizes, {"network": "c", "rest": "b"}, WORK.usual)
    assert forecast(other, file) == Forecast(pytest.approx(6 + 4), known=False)


def test_a_part_that_was_not_needed_is_not_kept_and_old_runs_go(tmp_path) -> None:
    file = tmp_path / "pace.json"
    for _ in range(40):
        remember(WORK, {"measure": 1.0}, file)
    kept = json.loads(file.read_text())
    assert list(kept) == ["rest: b"] and len(kept["rest: b"]) == 30


@pytest.mark.parametrize("text", ["", "[]", '{"rest: b": 3}', '{"rest: b": [[0, 1]]}', "{" * 9000])
def test_a_damaged_file_is_forgotten(tmp_path, text) -> None:
    file = tmp_path / "pace.json"
    file.write_text(text)
    assert forecast(WORK, file) == Forecast(10.0, known=False)
    remember(WORK, {"network": 1.0}, file)
    assert list(json.loads(file.read_text())) == ["network: a"]
    remember(WORK, {"network": 1.0}, tmp_path / "absent" / "pace.json")  # no error


def test_times_are_rounded_to_what_can_be_known() -> None:
    told = [about(s) for s in (0.1, 12, 44, 94, 100, 1000, 5400, 9000)]
    assert told == ["5 s", "10 s", "40 s", "90 s", "2 min", "15 min", "1.5 h", "2.5 h"]


def test_a_run_says_how_long_it_takes_before_the_long_stages(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pace, "cache_folder", lambda: tmp_path)
    told = []

    class Progress:
        def __call__(self, stage, fraction) -> None:
            told.append(stage)

        def expect(self, sentence) -> None:
            told.append(sentence)

    given = {"fixed": ball(), "moving": ball(shift=1.5), "weights": "none", "affine": "none"}
    report = register(**given, refine=2, progress=Progress()).report
    assert "this machine may differ" in told[1] and told.index("refine") > 1
    told.clear()
    register(**given, refine=2, progress=Progress())
    assert "by earlier runs on this machine" in told[1]
    (key,) = (key for key in json.loads((tmp_path / "pace.json").read_text()) if "refine" in key)
    assert "lncc, balanced, 2, alone" in key and report.seconds["refine"] > 0
    register(**given, refine=2)  # nobody has to listen
