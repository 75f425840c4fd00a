"""From the data that a recipe names to a pack."""

from __future__ import annotations

import shutil

import pytest

from sacbnet.errors import InputError
from sacbnet.files import atomic_file
from sacbnet.training.source import PACK, alone_in, open_data, with_source
from sacbnet.training.team import Team


def quiet(line):
    pass


def test_a_folder_is_packed_once(recipe, shapes, tmp_path):
    told = []
    first = open_data(with_source(recipe, shapes), tmp_path / "run", Team(), told.append)
    assert len(first) == 6 and first.label_values == (1, 2) and len(told) == 1
    before = (tmp_path / "run" / PACK).stat().st_mtime_ns
    open_data(with_source(recipe, shapes), tmp_path / "run", Team(), told.append)
    assert (tmp_path / "run" / PACK).stat().st_mtime_ns == before and len(told) == 1


def test_a_pack_is_taken_as_it_is(recipe, pack, tmp_path):
    assert open_data(with_source(recipe, pack.path), tmp_path, Team(), quiet).path == pack.path
    assert not list(tmp_path.iterdir())


def test_a_pack_of_other_data_or_options_is_refused(recipe, shapes, tmp_path):
    folder = shutil.copytree(shapes, tmp_path / "set")
    open_data(with_source(recipe, folder), tmp_path / "run", Team(), quiet)
    with pytest.raises(InputError, match="made with other options"):
        open_data(
            with_source(recipe, folder).with_changes(["data.bits=8"]),
            tmp_path / "run",
            Team(),
            quiet,
        )
    with pytest.raises(InputError, match="of other files"):
        open_data(with_source(recipe, shapes), tmp_path / "run", Team(), quiet)
    (folder / "labels" / "case_0.nii.gz").write_bytes(
        (folder / "labels" / "case_1.nii.gz").read_bytes()
    )
    with pytest.raises(InputError, match="changed since"):
        open_data(with_source(recipe, folder), tmp_path / "run", Team(), quiet)


def test_a_moved_run_goes_on_with_its_own_pack(recipe, shapes, tmp_path):
    open_data(with_source(recipe, shapes), tmp_path / "run", Team(), quiet)
    (tmp_path / "run").rename(tmp_path / "moved")
    told = []
    found = open_data(
        with_source(recipe, tmp_path / "gone"), tmp_path / "moved", Team(), told.append
    )
    assert len(found) == 6 and "are not there" in told[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.train=7:9"], "7:9"),
        (["data.validation=x*"], "x"),
        (["data.train_pairs=atlas"], "atlas"),
    ],
)
def test_pairs_that_are_not_there_are_told_before_packing(
    recipe, shapes, tmp_path, changes, message
):
    with pytest.raises(InputError, match=message):
        open_data(
            with_source(recipe, shapes).with_changes(changes), tmp_path / "run", Team(), quiet
        )
    assert not (tmp_path / "run").exists()


def test_data_that_are_not_there_or_not_sound(recipe, shapes, tmp_path):
    with pytest.raises(InputError, match="do not exist"):
        open_data(with_source(recipe, tmp_path / "absent"), tmp_path / "run", Team(), quiet)
    folder = shutil.copytree(shapes, tmp_path / "set")
    (folder / "images" / "case_3.nii.gz").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="case_3"):
        open_data(with_source(recipe, folder), tmp_path / "run", Team(), quiet)
    assert not (tmp_path / "run" / PACK).exists()


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    with (
        alone_in(tmp_path),
        pytest.raises(InputError, match="another sacbnet process"),
        alone_in(tmp_path),
    ):
        pass
    with alone_in(tmp_path):  # and free again
        pass


def test_what_killed_sessions_left_is_swept(tmp_path):
    with pytest.raises(KeyError), atomic_file(tmp_path / "checkpoint.pt") as path:
        left = path.parent
        raise KeyError
    left.mkdir()
    (left / "checkpoint.pt").write_bytes(b"half")
    (left / ".alive").touch()  # the lock of a process that lives no more
    with alone_in(tmp_path):
        assert not left.exists()


def test_a_case_less_or_another_order_of_the_pairs_is_another_set(recipe, shapes, tmp_path):
    folder = shutil.copytree(shapes, tmp_path / "set")
    recipe = recipe.with_changes(["data.validation=3:"])
    open_data(with_source(recipe, folder), tmp_path / "run", Team(), quiet)
    for kind in ("images", "labels"):
        (folder / kind / "case_0.nii.gz").unlink()
    with pytest.raises(InputError, match="of other cases or pairs"):
        open_data(with_source(recipe, folder), tmp_path / "run", Team(), quiet)
    table = "fixed,moving\n{0}/case_1.nii.gz,{0}/case_2.nii.gz\n"
    listed = recipe.with_changes(["data.train=", "data.validation=", "data.train_pairs=listed"])
    (tmp_path / "pairs.csv").write_text(table.format(folder / "images"))
    source = with_source(
        listed.with_changes(["data.validation_pairs=listed"]), tmp_path / "pairs.csv"
    )
    open_data(source, tmp_path / "other", Team(), quiet)
    (tmp_path / "pairs.csv").write_text(
        table.format(folder / "images").replace("fixed,moving", "moving,fixed")
    )
    with pytest.raises(InputError, match="of other cases or pairs"):
        open_data(source, tmp_path / "other", Team(), quiet)
