"""Images of a group from a folder and from a CSV, and the pairs that they make."""

from __future__ import annotations

import pytest

from sacbnet.cohort.members import plain, read_members, to_reference
from sacbnet.errors import InputError


@pytest.fixture
def folder(files, tmp_path):
    root = tmp_path / "set"
    for name, source in (("a", "fixed"), ("b", "aligned")):
        for kind, key in (("images", source), ("labels", f"{source}_labels")):
            path = root / kind / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[key].read_bytes())
    return root


def test_a_folder_has_its_images_and_their_labels(folder):
    members = read_members(folder)
    assert [m.name for m in members] == ["a", "b"]
    assert [m.labels for m in members] == [folder / "labels" / f"{x}.nii.gz" for x in "ab"]
    (pair,) = to_reference(members, folder / "images" / "b.nii.gz")  # which is left out itself
    assert pair.name == "a_to_b" and pair.moving_labels == folder / "labels" / "a.nii.gz"
    with pytest.raises(InputError, match=r"--to names .*nowhere\.nii, which does not exist"):
        to_reference(members, folder.parent / "nowhere.nii")
    with pytest.raises(InputError, match="holds no image"):
        read_members(_empty(folder))


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def test_a_csv_names_contrasts_and_subjects(folder):
    table = folder / "all.csv"
    table.write_text(
        "name,image,labels,subject,image_t2\n"
        "x,images/a.nii.gz,labels/a.nii.gz,anna,images/b.nii.gz\n"
        ",images/b.nii.gz,,ben,\n",
        encoding="utf-8",
    )
    one, other = read_members(table)
    assert (one.name, one.subject, other.name) == ("x", "anna", "b")
    assert one.contrasts == {"t2": folder / "images" / "b.nii.gz"} and not other.contrasts
    assert len(one.files()) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fixed,moving\na,b\n", "the columns fixed, moving; image, and no others"),
        ("image,weight\na,b\n", "has weight; image"),
        ("image\n", "no row below its header"),
        ("name,image\nx,\n", "line 2 names no image"),
        ("name,image\nx,a.nii\nX,b.nii\n", "two images named 'x'"),
        ("image,mask\na.nii,b.nii\n", "b.nii does not exist"),
    ],
)
def test_a_csv_of_another_kind_is_refused(tmp_path, text, said):
    path = tmp_path / "all.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_members(path)


def test_names_become_those_of_folders():
    assert plain("a/b c") == "a-b-c" and plain("(x)") == "x-" and plain("...") == "image"
