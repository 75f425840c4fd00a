"""The result on disk: whole, of one pair, and not replaced by chance."""

from __future__ import annotations

import threading
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

import sacbnet
from sacbnet.errors import OutputError
from sacbnet.registration import result as module
from sacbnet.registration.report import RunReport
from sacbnet.registration.result import FILES, PAGE, RUN, Registration

from ..conftest import QUICK


def test_save_returns_what_is_there(registered, result, tmp_path) -> None:
    assert {p.name for p in result.iterdir()} == set(FILES) - {PAGE}
    paths = registered.save(tmp_path / "a" / "b", page=lambda result: "a page")
    assert list(paths) == list(FILES) and all(p.is_file() for p in paths.values())


def test_the_page_is_made_of_the_finished_result(registered, tmp_path) -> None:
    """With the seconds of writing, the wall time and the command, which run.json has."""
    seen = []

    def page(result) -> str:
        seen.append(result.report)
        return "ünicode"

    paths = registered.save(tmp_path, command=("sacbnet", "register"), page=page)
    assert paths[PAGE].read_text(encoding="utf-8") == "ünicode"
    assert seen[0].command == ("sacbnet", "register") and seen[0].seconds["write"] > 0
    registered.save(tmp_path)
    assert not (tmp_path / PAGE).exists()  # a page of an earlier run would be stale


def test_a_page_that_fails_leaves_nothing(registered, tmp_path) -> None:
    def page(result) -> str:
        raise MemoryError

    with pytest.raises(MemoryError):
        registered.save(tmp_path / "new", page=page)
    assert not (tmp_path / "new").exists()


def test_a_result_keeps_its_images(registered, pair) -> None:
    assert registered.inputs.fixed.data is pair.fixed.data
    assert (registered.inputs.moving_labels.data == pair.moving_labels.data).all()


def test_no_stale_labels_when_the_folder_is_used_again(registered, tmp_path) -> None:
    registered.save(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    paths = replace(registered, moved_labels=None).save(tmp_path)
    assert "moved_labels.nii.gz" not in paths
    assert {p.name for p in tmp_path.iterdir()} == (
        set(FILES) - {"moved_labels.nii.gz", PAGE} | {"mine.txt"}
    )


def test_a_failure_while_saving_leaves_the_earlier_result(
    registered, tmp_path, monkeypatch
) -> None:
    registered.save(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*args) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sacbnet.registration.result.save_affine", full)
    with pytest.raises(OutputError, match="free some space"):
        replace(registered, moved_labels=None).save(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_registration_is_immutable(registered) -> None:
    with pytest.raises(AttributeError):
        registered.moved = None
    assert isinstance(registered, Registration)


def test_the_result_of_another_pair_is_not_replaced_by_chance(pair, near, tmp_path) -> None:
    near.save(tmp_path)
    near.save(tmp_path)  # the same pair
    back = sacbnet.register(fixed=pair.aligned, moving=pair.fixed, **QUICK)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(OutputError, match="result of another pair"):
        back.save(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    back.save(tmp_path, overwrite=True)
    found = RunReport.from_text((tmp_path / RUN).read_text())
    assert found.fixed == back.report.fixed


def test_a_folder_with_some_other_run_json_is_refused(near, tmp_path) -> None:
    (tmp_path / RUN).write_text('{"state": 3}')
    with pytest.raises(OutputError, match="no account of a registration"):
        near.save(tmp_path)


@pytest.fixture(scope="module")
def back(pair) -> Registration:
    """The other way round: another pair."""
    return sacbnet.register(fixed=pair.aligned, moving=pair.fixed, **QUICK)


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_pairs_at_once_into_one_folder(near, back, tmp_path, monkeypatch, overwrite) -> None:
    """Both find no result at their start; the second one to finish finds the first one's."""
    together, told = threading.Barrier(2, timeout=60), []
    save_affine = module.save_affine
    monkeypatch.setattr(module, "save_affine", lambda *a: (together.wait(), save_affine(*a)))

    def save(result: Registration) -> None:
        try:
            result.save(tmp_path / "new", overwrite=overwrite)
        except OutputError as error:
            told.append((result, str(error)))

    threads = [threading.Thread(target=save, args=(result,)) for result in (near, back)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = RunReport.from_text((tmp_path / "new" / RUN).read_text())
    winner = near if found.fixed == near.report.fixed else back
    if overwrite:
        assert not told
    else:
        ((loser, sentence),) = told
        assert loser is not winner and "another pair" in sentence and "--overwrite" in sentence
    moved = nib.load(tmp_path / "new" / "moved.nii.gz")
    np.testing.assert_array_equal(moved.get_fdata(dtype=np.float32), winner.moved.data)
    none = {"moved_labels.nii.gz"} if winner is back else set()
    assert {p.name for p in (tmp_path / "new").iterdir()} == set(FILES) - {PAGE} - none


def test_the_same_pair_at_once_into_one_folder_is_no_error(near, tmp_path, monkeypatch) -> None:
    together = threading.Barrier(2, timeout=60)
    save_affine = module.save_affine
    monkeypatch.setattr(module, "save_affine", lambda *a: (together.wait(), save_affine(*a)))
    threads = [threading.Thread(target=near.save, args=(tmp_path,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert RunReport.from_text((tmp_path / RUN).read_text()).fixed == near.report.fixed
