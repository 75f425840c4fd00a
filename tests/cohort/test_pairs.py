"""Lists of pairs as CSV."""

from __future__ import annotations

import pytest

from sacbnet.cohort import read_pairs
from sacbnet.errors import InputError


@pytest.fixture
def listed(tmp_path):
    def write(text):
        (tmp_path / "pairs.csv").write_text(text, encoding="utf-8")
        return tmp_path / "pairs.csv"

    return write


def test_paths_are_relative_to_the_list(listed, tmp_path):
    path = listed(
        "Fixed,moving,name,fixed_mask,moving_labels\n"
        "images/b.nii.gz,images/a.nii.gz,one,,l/a.nii.gz\n\n"
        f"images/c.nii.gz,{tmp_path}/images/sub (1)/a.nii.gz,,m/c.nii,\n"
    )
    one, two = read_pairs(path)
    assert one.files() == {
        "fixed": tmp_path / "images/b.nii.gz",
        "moving": tmp_path / "images/a.nii.gz",
        "moving_labels": tmp_path / "l/a.nii.gz",
    }
    assert one.name == "one"
    assert two.name == "sub--1--a_to_c"
    assert two.fixed_mask == tmp_path / "m/c.nii" and two.moving_labels is None


def test_names_are_short_where_the_files_have_names_of_their_own(listed):
    path = listed("fixed,moving\nb/b.nii,/elsewhere/of/c.nii\n")
    assert [pair.name for pair in read_pairs(path)] == ["c_to_b"]


def test_the_order_is_that_of_the_file(listed, monkeypatch, tmp_path):
    path = listed("fixed,moving\nb.nii,c.nii\n../x/b.nii,b.nii\n")
    assert [pair.name for pair in read_pairs(path)] == [
        f"{tmp_path.name}-c_to_{tmp_path.name}-b",
        f"{tmp_path.name}-b_to_x-b",
    ]
    monkeypatch.chdir(tmp_path)  # a relative path of the list, too
    assert [pair.name for pair in read_pairs("pairs.csv")] == [p.name for p in read_pairs(path)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fixed,image\na,b\n", "has the columns fixed, image; fixed, moving"),
        ("fixed,moving,points\na,b,c\n", "has the columns fixed, moving, points; fixed, moving"),
        ("fixed,moving\n", "no row below its header"),
        ("fixed,moving\na,\n", "line 2 names no fixed or no moving image"),
        ("fixed,moving,name\na,b,../c\n", r"line 2: a pair has the name '../c'"),
        ("fixed,moving\na,b\na,b\n", "two pairs have the name 'b_to_a'"),
        # one folder on disks that do not tell capital from small letters
        ("fixed,moving,name\na,b,Head\na,c,hEAD\n", "two pairs have the name 'hEAD'"),
        ("fixed,moving\na,b,c\n", "line 2 has 3 values"),
    ],
)
def test_what_is_no_list_is_refused(listed, text, said):
    with pytest.raises(InputError, match=said):
        read_pairs(listed(text))
