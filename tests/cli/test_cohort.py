"""sacbnet cohort."""

from __future__ import annotations

import csv
import json

import pytest

import sacbnet.cohort.run
from sacbnet.cli.workers import duration, with_time_left
from sacbnet.registration.registrar import Registrar
from sacbnet.registration.result import RUN, TRANSFORM

from .conftest import QUICKLY


@pytest.fixture
def listed(files, tmp_path):
    """A list of a pair, a damaged one and a missing one."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("fixed", "aligned"):
        (folder / f"{name}.nii.gz").write_bytes(files[name].read_bytes())
    (folder / "damaged.nii.gz").write_bytes(files["aligned"].read_bytes()[:4000])
    (folder / "pairs.csv").write_text(
        "fixed,moving\nfixed.nii.gz,damaged.nii.gz\nfixed.nii.gz,aligned.nii.gz\n"
        "fixed.nii.gz,nowhere.nii.gz\n",
        encoding="utf-8",
    )
    return folder / "pairs.csv"


@pytest.fixture
def cohort(sacbnet, listed, tmp_path):
    def run(*more):
        return sacbnet("cohort", listed, f"--out={tmp_path / 'out'}", *QUICKLY, *more)

    return run


def statuses(out):
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        return [row["status"] for row in csv.DictReader(file)]


def test_the_sentences_of_failed_pairs_and_the_exit_code(cohort, tmp_path):
    done = cohort()
    assert done.code == 6
    assert done.out == (
        f"pairs: 1 done, 0 skipped (finished before), 2 failed; written to {tmp_path / 'out'}\n"
    )
    lines = done.said.splitlines()
    assert lines[0].startswith("sacbnet: damaged_to_fixed: ") and "damaged.nii.gz" in lines[0]
    assert lines[1].startswith("sacbnet: nowhere_to_fixed: ") and "nowhere.nii.gz" in lines[1]
    assert lines[2].startswith("sacbnet: error: 2 of 3 pairs failed; ") and len(lines) == 3
    assert statuses(tmp_path / "out") == ["failed", "done", "failed"]
    run = json.loads((tmp_path / "out" / "aligned_to_fixed" / RUN).read_text(encoding="utf-8"))
    assert run["command"][:2] == ["sacbnet", "cohort"] and run["wall_seconds"] > 0


def test_the_bytes_are_those_of_register(cohort, register, tmp_path):
    cohort("--quiet")
    assert register(f"--out={tmp_path / 'alone'}").code == 0
    one, other = (tmp_path / "out" / "aligned_to_fixed", tmp_path / "alone")
    assert (one / TRANSFORM).read_bytes() == (other / TRANSFORM).read_bytes()


def test_ctrl_c_keeps_what_is_done_and_the_command_goes_on(cohort, monkeypatch, tmp_path):
    out, true, calls = tmp_path / "out", Registrar.register, []
    stop_at = {"nowhere.nii.gz"}

    def interrupted(self, **given):
        calls.append(given["moving"].name)
        if calls[-1] in stop_at:
            raise KeyboardInterrupt
        return true(self, **given)

    monkeypatch.setattr(Registrar, "register", interrupted)
    first = cohort()
    assert first.code == 130 and first.out == ""
    assert first.said == f"sacbnet: interrupted; the same command goes on from {out}\n"
    assert statuses(out) == ["failed", "done"]
    stop_at.clear()
    calls.clear()
    assert cohort().code == 6
    assert calls == ["damaged.nii.gz", "nowhere.nii.gz"]
    assert statuses(out) == ["failed", "skipped", "failed"]


def test_weights_are_loaded_once(cohort, monkeypatch):
    made, true = [], sacbnet.cohort.run.Registrar._begin

    def counted(self, options):
        made.append(options)
        true(self, options)

    monkeypatch.setattr(Registrar, "_begin", counted)
    cohort()
    assert len(made) == 1 and made[0].refine == 1


def test_other_options_are_refused_without_overwrite(cohort, tmp_path):
    cohort()
    refused = cohort("--spacing=2")
    assert refused.code == 5
    assert "aligned_to_fixed holds a result with other options (spacing None, now 2.0)" in (
        refused.sentence()
    )
    assert cohort("--spacing=2", "--overwrite").code == 6
    assert statuses(tmp_path / "out") == ["failed", "done", "failed"]


def test_a_list_that_is_none_is_refused(sacbnet, tmp_path):
    (tmp_path / "pairs.csv").write_text("image\na.nii.gz\n", encoding="utf-8")
    refused = sacbnet("cohort", tmp_path / "pairs.csv", f"--out={tmp_path / 'out'}", *QUICKLY)
    assert refused.code == 3 and "fixed, moving" in refused.sentence()
    assert not (tmp_path / "out").exists()


def test_every_image_of_a_folder_to_one_reference(sacbnet, listed, tmp_path):
    (listed.parent / "damaged.nii.gz").unlink()
    out = tmp_path / "out"
    reference = listed.parent / "fixed.nii.gz"
    done = sacbnet("cohort", listed.parent, f"--to={reference}", f"--out={out}", *QUICKLY)
    assert done.code == 0 and done.out.startswith("pairs: 1 done")
    assert (out / "aligned_to_fixed" / TRANSFORM).is_file()
    assert (out / "index.html").is_file()


def test_two_workers_and_a_damaged_image(cohort, tmp_path):
    done = cohort("--workers=2")
    assert done.code == 6 and done.out.startswith("pairs: 1 done")
    assert statuses(tmp_path / "out") == ["failed", "done", "failed"]
    assert [line for line in done.said.splitlines() if "sacbnet:" not in line] == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "is a folder of images; say by --to which pairs are meant"),
        (["--to=pairwise", "--to-labels=x.nii"], "--to-labels belong to a reference"),
        (["--to=pairwise", "--suffix=T1w"], "--suffix is for a BIDS dataset"),
        (["--to=nowhere.nii"], "nowhere.nii, which does not exist"),
    ],
)
def test_what_does_not_fit_is_refused(sacbnet, listed, tmp_path, more, said):
    refused = sacbnet("cohort", listed.parent, f"--out={tmp_path / 'out'}", *QUICKLY, *more)
    assert refused.code == 3 and said in refused.sentence()
    assert not (tmp_path / "out").exists()


def test_an_address_without_a_scheduler_is_told(cohort, monkeypatch):
    monkeypatch.setattr("sacbnet.cohort.crew._PATIENCE", 0.3)
    done = cohort("--scheduler=tcp://127.0.0.1:9")
    assert done.code == 3 and "no scheduler of Dask answers at tcp://127.0.0.1:9" in done.said


def test_the_time_left_is_told():
    told = []
    tell = with_time_left(lambda *now: told.append(now))
    tell("a", 0.0)
    tell("b", 0.5)
    tell("c", 1.0)
    assert told[0] == ("a", 0.0) and told[2] == ("c", 1.0)
    assert told[1][0].startswith("b (50%, about 0 s left)")
    assert [duration(x) for x in (99, 150, 7000)] == ["99 s", "2 min", "1.9 h"]
