"""A cohort: every pair once, whatever fails or stops; the results are those of `register`."""

from __future__ import annotations

import csv
import json
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sacbnet.cohort import CohortPair, register_pairs
from sacbnet.cohort.crew import Crew, Lost
from sacbnet.cohort.work import Task, run_task
from sacbnet.errors import InputError, OutputError
from sacbnet.files import locked
from sacbnet.registration.registrar import Registrar, register
from sacbnet.registration.report import RunReport
from sacbnet.registration.result import RUN, TRANSFORM

QUICK = {"weights": "none", "affine": "none", "refine": 1}


@pytest.fixture(scope="module")
def registrar():
    return Registrar(**QUICK)


@pytest.fixture
def pairs(files, tmp_path):
    """A pair with labels, one with a damaged moving image, and the first pair in reverse."""
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(files["aligned"].read_bytes()[:4000])
    first = CohortPair(
        name="first",
        fixed=files["fixed"],
        moving=files["aligned"],
        fixed_labels=files["fixed_labels"],
        moving_labels=files["aligned_labels"],
    )
    return (
        first,
        CohortPair(name="second", fixed=files["fixed"], moving=damaged),
        CohortPair(name="third", fixed=files["aligned"], moving=files["fixed"]),
    )


@pytest.fixture
def calls(monkeypatch):
    """The moving images that were registered, in order."""
    seen = []
    true = Registrar.register

    def counted(self, **given):
        seen.append(given["moving"].name)
        return true(self, **given)

    monkeypatch.setattr(Registrar, "register", counted)
    return seen


class Here(Crew):
    """A crew whose work is done in this process, the last item first."""

    def __init__(self, lost=()):
        object.__setattr__(self, "threads", None)
        object.__setattr__(self, "lost", lost)

    def results(self, do, items):
        for n in reversed(range(len(items))):
            yield n, Lost("killed") if n in self.lost else do(items[n])


def statuses(cohort):
    return [(row.name, row.status) for row in cohort.outcomes]


def rows(out):
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_pair_that_fails_does_not_stop_the_rest(pairs, registrar, tmp_path):
    out, told = tmp_path / "out", []
    found = register_pairs(pairs, registrar, out, progress=lambda *now: told.append(now))
    assert statuses(found) == [("first", "done"), ("second", "failed"), ("third", "done")]
    assert told == [("first", 0), ("second", 1 / 3), ("third", 2 / 3)]
    assert not (out / "second").exists()
    first, second, third = rows(out)
    assert first["verdict"] in ("good", "check") and second["verdict"] == second["reasons"] == ""
    report = RunReport.from_text((out / "first" / RUN).read_text(encoding="utf-8"))
    assert float(first["dice_start"]) == pytest.approx(report.dice.start.nearest, rel=1e-6)
    assert float(first["dice_final"]) == pytest.approx(report.dice.final.nearest, rel=1e-6)
    likeness = report.similarity
    assert float(first["local_correlation_start"]) == pytest.approx(
        likeness.start.local_correlation, rel=1e-6
    )
    assert float(first["local_correlation_final"]) == pytest.approx(
        likeness.final.local_correlation, rel=1e-6
    )
    assert float(first["folded_percent"]) == report.folding.folded_percent
    assert float(first["seconds"]) > 0
    assert "damaged.nii.gz" in second["error"] and second["seconds"] == ""
    assert third["dice_final"] == "" and third["error"] == ""
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    counted = [summary[key] for key in ("pairs", "done", "failed", "skipped", "waiting")]
    assert counted == [3, 2, 1, 0, 0]
    assert summary["outcomes"][1]["error"] == second["error"]
    assert summary["options"]["refine"] == 1


def test_the_results_are_those_of_register(pairs, registrar, tmp_path):
    register_pairs((pairs[2], pairs[0]), registrar, tmp_path / "out")
    alone = register(**pairs[0].files(), **QUICK)
    alone.save(tmp_path / "alone")
    written = {path.name for path in (tmp_path / "alone").iterdir()}
    assert written == {path.name for path in (tmp_path / "out" / "first").iterdir()}
    assert len(written) == 6
    for name in written - {RUN}:  # which holds seconds
        assert (tmp_path / "alone" / name).read_bytes() == (
            tmp_path / "out" / "first" / name
        ).read_bytes(), name


def test_after_an_interruption_the_rest_is_done(pairs, registrar, tmp_path, calls):
    out = tmp_path / "out"

    def interrupt(name, fraction):
        if name == "third":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register_pairs(pairs, registrar, out, progress=interrupt)
    assert calls == ["aligned.nii.gz", "damaged.nii.gz"]
    assert [row["status"] for row in rows(out)] == ["done", "failed"]
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["waiting"] == 1 and summary["expected_seconds"] > 0
    before = (out / "first" / RUN).read_bytes()

    calls.clear()
    found = register_pairs(pairs, registrar, out)
    assert calls == ["damaged.nii.gz", "fixed.nii.gz"]  # what failed is tried again
    assert statuses(found) == [("first", "skipped"), ("second", "failed"), ("third", "done")]
    assert (out / "first" / RUN).read_bytes() == before
    assert float(rows(out)[0]["dice_final"]) > 0  # numbers of a skipped pair are there, too

    calls.clear()
    register_pairs((pairs[0], pairs[2]), Registrar(**QUICK, device="cpu"), out)
    assert calls == []  # a device is no other option


def test_other_options_are_refused_before_the_work(pairs, registrar, tmp_path, calls):
    out = tmp_path / "out"
    register_pairs(pairs[:1], registrar, out)
    before = (out / "first" / TRANSFORM).read_bytes()
    calls.clear()
    other = Registrar(**QUICK | {"refine": 2}, box="whole")
    with pytest.raises(
        OutputError, match=r"first holds a result with other options \(refine 1, now 2; box fore"
    ):
        register_pairs(pairs[::-1], other, out)
    assert calls == []
    found = register_pairs(pairs[:1], other, out, overwrite=True)
    assert statuses(found) == [("first", "done")]
    assert (out / "first" / TRANSFORM).read_bytes() != before
    assert register_pairs(pairs[:1], other, out, overwrite=True).count("skipped") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: {"moving": files["moving"]}, "another moving image"),
        (lambda files: {"fixed_mask": files["fixed_labels"]}, "no fixed mask"),
        (lambda files: {"moving_labels": None}, "a moving labels"),
        (lambda files: {"moving_labels": files["moving_labels"]}, "another moving labels"),
    ],
)
def test_other_inputs_are_refused(pairs, files, registrar, tmp_path, calls, change, said):
    register_pairs(pairs[:1], registrar, tmp_path / "out")
    calls.clear()
    with pytest.raises(OutputError, match=f"first holds a result with {said}.*--overwrite"):
        register_pairs([replace(pairs[0], **change(files))], registrar, tmp_path / "out")
    assert calls == []


def test_a_file_of_another_kind_is_not_replaced(pairs, registrar, tmp_path):
    (tmp_path / "out" / "first").mkdir(parents=True)
    (tmp_path / "out" / "first" / RUN).write_text("{}", encoding="utf-8")
    with pytest.raises(OutputError, match="no account of a registration"):
        register_pairs(pairs, registrar, tmp_path / "out")
    (tmp_path / "out" / "third").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="third is a file"):
        register_pairs(pairs, registrar, tmp_path / "out", overwrite=True)


def test_a_defect_of_the_program_costs_one_pair(pairs, registrar, tmp_path, monkeypatch, caplog):
    true = Registrar.register

    def broken(self, **given):
        if "damaged" in given["moving"].name:
            raise ZeroDivisionError("division by zero")
        return true(self, **given)

    monkeypatch.setattr(Registrar, "register", broken)
    with caplog.at_level("INFO", "sacbnet.cohort"):
        found = register_pairs(pairs, registrar, tmp_path / "out")
    assert "in broken" in caplog.text  # the traceback
    assert found.count("done") == 2
    assert found.outcomes[1].error == "unexpected error (ZeroDivisionError: division by zero)"


def test_a_full_disk_stops_the_work(pairs, registrar, tmp_path, monkeypatch, calls):
    def full(*_, **__):
        raise OutputError("the disk is full")

    monkeypatch.setattr("sacbnet.registration.result.Registration.save", full)
    with pytest.raises(OutputError, match="full"):
        register_pairs(pairs, registrar, tmp_path / "out")
    assert len(calls) == 1


def test_a_second_process_is_refused(pairs, registrar, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    held, over = threading.Event(), threading.Event()

    def hold():
        with locked(out / ".lock", "busy"):
            held.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(30)
        with pytest.raises(InputError, match="another process works on the cohort in"):
            register_pairs(pairs, registrar, out)
    finally:
        over.set()
        thread.join()
    assert [path.name for path in out.iterdir()] == [".lock"]


def test_two_pairs_of_one_name_are_refused(pairs, registrar, tmp_path):
    with pytest.raises(InputError, match="two pairs have the name 'FIRST'"):
        register_pairs([pairs[0], replace(pairs[2], name="FIRST")], registrar, tmp_path / "out")
    with pytest.raises(InputError, match="no pairs"):
        register_pairs([], registrar, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", ".hidden", "summary.csv", "a\n"])
def test_a_name_is_that_of_a_folder(name, pairs):
    with pytest.raises(InputError, match="a pair has the name"):
        replace(pairs[0], name=name)


def test_the_code_on_the_page_runs(files, tmp_path, monkeypatch, capsys):
    """With no network and one step, as the page's weights are large."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "cohorts.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    chosen = 'weights="brain", preset="fast"'
    assert chosen in block
    (tmp_path / "pairs.csv").write_text(f"fixed,moving\n{files['fixed']},{files['aligned']}\n")
    monkeypatch.chdir(tmp_path)
    exec(block.replace(chosen, 'weights="none", affine="none", refine=1'), {})
    assert capsys.readouterr().out == "aligned_to_fixed done None\n"
    assert (tmp_path / "results" / "aligned_to_fixed" / TRANSFORM).is_file()


def test_a_crew_does_the_same_work(pairs, registrar, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = []
    found = register_pairs(
        pairs, registrar, "by_crew", crew=Here(), progress=lambda *now: told.append(now)
    )
    assert statuses(found) == [("first", "done"), ("second", "failed"), ("third", "done")]
    assert told[0] == ("starting the workers", 0)
    assert [x for x, _ in told[1:]] == ["third", "second", "first"] and told[-1][1] == 1
    register_pairs(pairs, registrar, "here")
    one, other = (tmp_path / folder / "first" / TRANSFORM for folder in ("by_crew", "here"))
    assert one.read_bytes() == other.read_bytes()
    assert (tmp_path / "by_crew" / "thumbnails" / "first.jpg").is_file()
    again = register_pairs(pairs, registrar, "by_crew", crew=Here())
    assert [row.status for row in again.outcomes] == ["skipped", "failed", "skipped"]


def test_a_pair_whose_workers_are_killed_is_told_and_tried_again(pairs, registrar, tmp_path):
    found = register_pairs(pairs, registrar, tmp_path, crew=Here(lost={0}))
    assert statuses(found) == [("first", "failed"), ("second", "failed"), ("third", "done")]
    assert found.outcomes[0].error == "killed"
    found = register_pairs(pairs, registrar, tmp_path, crew=Here())
    assert statuses(found) == [("first", "done"), ("second", "failed"), ("third", "skipped")]


def test_a_worker_that_is_asked_again_does_not_work_twice(pairs, registrar, tmp_path, calls):
    """Its process was killed after it wrote the result, before it told so."""
    task = Task(pairs[0], tmp_path, registrar.engine.options, "")
    one, other = run_task(task), run_task(task)
    assert len(calls) == 1 and replace(one, seconds=0) == replace(other, seconds=0)
    assert one.transform_sha256


def test_a_worker_of_another_version_or_with_other_weights_is_refused(pairs, registrar, tmp_path):
    task = Task(pairs[0], tmp_path, registrar.engine.options, "")
    with pytest.raises(InputError, match=r"but the cohort was begun with 9\.9"):
        run_task(replace(task, version="9.9"))
    with pytest.raises(InputError, match="a worker has other weights named none"):
        run_task(replace(task, weights="abc"))


def test_a_result_that_was_changed_or_lost_a_file_is_not_finished(pairs, registrar, tmp_path):
    register_pairs(pairs[:1], registrar, tmp_path)
    folder = tmp_path / "first"
    (folder / "moved.nii.gz").unlink()
    assert register_pairs(pairs[:1], registrar, tmp_path).count("done") == 1
    (folder / TRANSFORM).write_bytes(b"damaged")
    with pytest.raises(OutputError, match=r"transform\.nii\.gz is not the file that was written"):
        register_pairs(pairs[:1], registrar, tmp_path)
    assert register_pairs(pairs[:1], registrar, tmp_path, overwrite=True).count("done") == 1


def test_a_picture_that_is_missing_comes_back(pairs, registrar, tmp_path):
    register_pairs(pairs[:1], registrar, tmp_path)
    picture = tmp_path / "thumbnails" / "first.jpg"
    before = picture.read_bytes()
    picture.unlink()
    register_pairs(pairs[:1], registrar, tmp_path)
    assert picture.read_bytes() == before
    register_pairs(pairs[:1], registrar, tmp_path / "without", pictures=False)
    assert not (tmp_path / "without" / "thumbnails").exists()
    assert not (tmp_path / "without" / "index.html").exists()


def test_each_pair_may_have_a_page(pairs, registrar, tmp_path):
    register_pairs(pairs[:1], registrar, tmp_path, page=True)
    assert (tmp_path / "first" / "report.html").is_file()
    assert 'href="first/report.html"' in (tmp_path / "index.html").read_text(encoding="utf-8")
