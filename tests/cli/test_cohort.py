"""sacbnet cohort."""

from __future__ import annotations

import csv
import json

import pytest

import sacbnet.cohort.run
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
