"""Cases and pairs, from every kind of source. No image is opened, so empty files will do."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacbnet.data.cases import Case, PairList, natural, pair_up, select, spread
from sacbnet.data.source import read_cases
from sacbnet.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def table(cases: PairList, root: Path) -> dict[str, tuple[str | None, ...]]:
    """name -> image, labels, points, relative to the root."""
    return {
        c.name: tuple(
            None if p is None else p.relative_to(root).as_posix()
            for p in (c.image, c.labels, c.points)
        )
        for c in cases.cases
    }


# -- folders ---------------------------------------------------------------------------------------
def test_images_with_labels_and_points_beside_them(tmp_path) -> None:
    touch(
        tmp_path,
        "images/s10.nii.gz",
        "images/s9.nrrd",
        "images/._s9.nrrd",
        "images/notes.txt",
        "images/deep/s1.mha",
    )
    touch(tmp_path, "labels/s9.nii", "labels/deep/s1.nii.gz", "points/s10.mrk.json", "README.md")
    found = read_cases(tmp_path)
    assert found.pairs == ()
    assert table(found, tmp_path) == {
        "deep/s1": ("images/deep/s1.mha", "labels/deep/s1.nii.gz", None),
        "s9": ("images/s9.nrrd", "labels/s9.nii", None),
        "s10": ("images/s10.nii.gz", None, "points/s10.mrk.json"),
    }
    assert [c.name for c in found.cases] == ["deep/s1", "s9", "s10"]  # 9 before 10


def test_endings_and_suffixes_of_learn2reg_and_nnunet(tmp_path) -> None:
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz", "imagesTs/c_0000.nii.gz")
    touch(
        tmp_path,
        "labelsTr/a.nii.gz",
        "labelsTr/b_0000.nii.gz",
        "labelsTr/b.nii.gz",
        "landmarksTr/a_0000.csv",
    )
    assert table(read_cases(tmp_path), tmp_path) == {
        "imagesTr/a_0000": (
            "imagesTr/a_0000.nii.gz",
            "labelsTr/a.nii.gz",
            "landmarksTr/a_0000.csv",
        ),
        "imagesTr/b_0000": ("imagesTr/b_0000.nii.gz", "labelsTr/b_0000.nii.gz", None),
        "imagesTs/c_0000": ("imagesTs/c_0000.nii.gz", None, None),
    }


def test_flat_folder_and_analyze_pairs(tmp_path) -> None:
    touch(tmp_path, "b.hdr", "b.img", "a.img", "below/c.nii")
    assert table(read_cases(tmp_path), tmp_path) == {
        "a": ("a.img", None, None),
        "b": ("b.hdr", None, None),
    }


def test_pickles_of_transmorph(tmp_path) -> None:
    names = [f"{part}/subject_{n}" for part in ("Train", "Val", "Test") for n in (0, 2, 10)]
    touch(tmp_path, "atlas.pkl", *(f"{name}.pkl" for name in names))
    found = read_cases(tmp_path)
    assert {c.name for c in found.cases} == {"atlas", *names}
    train = [found.cases[n].name for n in select(found.cases, "Train/*")]
    assert train == ["Train/subject_0", "Train/subject_2", "Train/subject_10"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ((), "holds no images"),
        (("images/readme.txt",), "holds no images of a known format"),
        (
            ("images/a.nii", "labels/a_seg.nii"),
            "none of the 1 label maps .* has the name of an image",
        ),
        (("a.nii", "a.nii.gz"), "two cases 'a'"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, files, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        read_cases(touch(tmp_path, *files))


@pytest.mark.parametrize("name", ["nowhere", "list.txt"])
def test_no_source(tmp_path, name) -> None:
    touch(tmp_path, "list.txt")
    with pytest.raises(InputError, match=f"{name} (does not exist|is no list of cases)"):
        read_cases(tmp_path / name)


# -- CSV -------------------------------------------------------------------------------------------
def test_csv_of_pairs(tmp_path) -> None:
    touch(
        tmp_path,
        "set/a.nii.gz",
        "set/b.nii.gz",
        "set/c.nii.gz",
        "seg/a.nii.gz",
        "seg/b.nii.gz",
        "p.csv",
        "q.csv",
    )
    rows = [
        "Fixed, moving, fixed_labels, moving_labels, moving_points",
        "set/a.nii.gz, set/b.nii.gz, seg/a.nii.gz, seg/b.nii.gz, q.csv",
        "",
        "./set/c.nii.gz, set/../set/a.nii.gz,,, ",
    ]
    # as spreadsheets write it
    (tmp_path / "pairs.csv").write_text("\ufeff" + "\r\n".join(rows), encoding="utf-8")
    found = read_cases(tmp_path / "pairs.csv")
    assert table(found, tmp_path) == {
        "a": ("set/a.nii.gz", "seg/a.nii.gz", None),
        "b": ("set/b.nii.gz", "seg/b.nii.gz", "q.csv"),
        "c": ("set/c.nii.gz", None, None),
    }
    assert found.pairs == ((1, 0), (0, 2))  # (moving, fixed)


def test_csv_of_cases(tmp_path) -> None:
    touch(tmp_path, "1/t1.nii", "2/t1.nii", "2/seg.nii")
    (tmp_path / "a.csv").write_text("image,labels\n2/t1.nii,2/seg.nii\n1/t1.nii,\n")
    assert table(read_cases(tmp_path / "a.csv"), tmp_path) == {
        "1/t1": ("1/t1.nii", None, None),
        "2/t1": ("2/t1.nii", "2/seg.nii", None),
    }
    (tmp_path / "b.csv").write_text(f"name,image\nsecond,2/t1.nii\nfirst,{tmp_path / '1/t1.nii'}\n")
    assert [(c.name, c.image) for c in read_cases(tmp_path / "b.csv").cases] == [
        ("first", tmp_path / "1/t1.nii"),
        ("second", tmp_path / "2/t1.nii"),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has the columns ; fixed and moving"),
        ("fixed,moved\na.nii,b.nii", "has the columns fixed, moved;"),
        ("fixed,moving,lables\na.nii,b.nii,", "unknown column 'lables'"),
        ("fixed,moving\n", "no row below its header"),
        ("fixed,moving\na.nii,b.nii\na.nii", "line 3 has 1 values; 2 were expected"),
        (
            "fixed,moving\n\n\na.nii,gone.nii",
            "line 4 names gone.nii, but .*gone.nii does not exist",
        ),
        ("fixed,moving\n,a.nii", "line 2 names no image"),
        (
            "fixed,moving,fixed_labels\na.nii,b.nii,b.nii\na.nii,b.nii,c.nii",
            "line 3 gives .*a.nii the labels .*c.nii",
        ),
        ("name,image\nx,a.nii\nx,b.nii", "two cases 'x'"),
        ("fixed,moving\n\xff\xfe", "cannot be read as CSV"),
    ],
)
def test_csv_that_cannot_be_used(tmp_path, text, sentence) -> None:
    touch(tmp_path, "a.nii", "b.nii", "c.nii")
    (tmp_path / "list.csv").write_bytes(text.encode("latin1"))
    with pytest.raises(InputError, match=sentence) as caught:
        read_cases(tmp_path / "list.csv")
    assert "list.csv" in str(caught.value)


# -- Learn2Reg -------------------------------------------------------------------------------------
def learn2reg(root: Path, **lists: object) -> Path:
    facts = {
        "name": "X",
        "release": "2",
        "tensorImageSize": {"0": "3D"},
        "numTraining": 3,
        "labels": {},
    }
    (root / "X_dataset.json").write_text(json.dumps(facts | lists))
    return root / "X_dataset.json"


def test_learn2reg_dataset(tmp_path) -> None:
    images = [f"imagesTr/X_000{n}_000{t}.nii.gz" for n in (1, 2) for t in (0, 1)]
    touch(
        tmp_path,
        *images,
        "labelsTr/X_0001_0000.nii.gz",
        "masksTr/X_0001_0000.nii.gz",
        "labelsTr/X_0002_0001.nii.gz",
    )
    touch(tmp_path, "keypointsTr/X_0001_0000.csv", "imagesTs/X_0003_0000.nii.gz")
    one, two, three, four = ("./" + image for image in images)
    path = learn2reg(
        tmp_path,
        training=[
            {
                "image": one,
                "label": "./labelsTr/X_0001_0000.nii.gz",
                "keypoints": "./keypointsTr/X_0001_0000.nii.gz",
            },
            {"image": two, "mask": "./masksTr/X_0001_0000.nii.gz"},
            {"image": four},
        ],
        # the last image is not handed out
        test=["./imagesTs/X_0003_0000.nii.gz", "./imagesTs/X_0009_0000.nii.gz"],
        training_paired_images=[{"fixed": two, "moving": one}],
        registration_val=[{"fixed": four, "moving": three}],
        registration_test=[
            {"fixed": "./imagesTs/X_0009_0000.nii.gz", "moving": "./imagesTs/X_0003_0000.nii.gz"}
        ],
    )
    found = read_cases(path)
    assert table(found, tmp_path) == {
        "X_0001_0000": (images[0], "labelsTr/X_0001_0000.nii.gz", "keypointsTr/X_0001_0000.csv"),
        "X_0001_0001": (images[1], None, None),
        "X_0002_0000": (images[2], None, None),
        # the entry names no labels
        "X_0002_0001": (images[3], "labelsTr/X_0002_0001.nii.gz", None),
        "X_0003_0000": ("imagesTs/X_0003_0000.nii.gz", None, None),
    }
    assert found.pairs == ((0, 1), (2, 3))


@pytest.mark.parametrize(
    ("lists", "sentence"),
    [
        ({}, "is no dataset of Learn2Reg"),
        (
            {"training": [{"image": "./imagesTr/a.nii"}, {"label": "x"}]},
            "entry 2 of training is .*label",
        ),
        (
            {"training": [{"image": "./imagesTr/gone.nii"}]},
            "entry 1 of training names ./imagesTr/gone.nii",
        ),
        (
            {"registration_val": [{"fixed": "./imagesTr/a.nii", "moving": "b"}]},
            "entry 1 of registration_val names b",
        ),
        ({"test": ["./imagesTs/a.nii"]}, "names no image that exists"),
    ],
)
def test_learn2reg_that_cannot_be_used(tmp_path, lists, sentence) -> None:
    touch(tmp_path, "imagesTr/a.nii")
    with pytest.raises(InputError, match=sentence):
        read_cases(learn2reg(tmp_path, **lists))


def test_json_that_is_none(tmp_path) -> None:
    for text in ("{", "[" * 100_000):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(InputError, match="cannot be read as JSON"):
            read_cases(tmp_path / "a.json")


def test_learn2reg_with_names_that_no_file_can_have(tmp_path) -> None:
    touch(tmp_path, "imagesTr/a.nii")
    entry = {"image": "./imagesTr/a.nii", "label": "l" * 5000, "points": "p\0"}
    found = read_cases(learn2reg(tmp_path, training=[entry], test=["t" * 5000]))
    assert [(case.name, case.labels, case.points) for case in found.cases] == [("a", None, None)]


# -- choosing and pairing --------------------------------------------------------------------------
NAMES = [f"s{n}" for n in range(12)]


@given(
    st.permutations(NAMES),
    st.one_of(st.none(), st.integers(-13, 13)),
    st.one_of(st.none(), st.integers(-13, 13)),
)
def test_a_slice_is_pythons_over_the_names_in_natural_order(names, start, stop) -> None:
    text = f"{'' if start is None else start}:{'' if stop is None else stop}"
    expected = NAMES[start:stop]
    if expected:
        assert [names[n] for n in select(names, text)] == expected
    else:
        with pytest.raises(InputError, match="means none of the 12 cases"):
            select(names, text)


def test_subsets() -> None:
    cases = [Case(name, Path(name)) for name in ("Val/1", "Train/2", "Train/10", "atlas")]
    named = {
        "": ["Train/2", "Train/10", "Val/1", "atlas"],
        "Train/*": ["Train/2", "Train/10"],
        "atlas, Val/1": ["Val/1", "atlas"],
        "::2": ["Train/2", "Val/1"],
        ":1,*/1*": ["Train/2", "Train/10", "Val/1"],  # each case once
    }
    for subset, names in named.items():
        assert [cases[n].name for n in select(cases, subset)] == names, subset
    for subset, sentence in {"train/*": "none of the 4", "0:2,": "''", "::0": "step of 0"}.items():
        with pytest.raises(InputError, match=sentence):
            select(cases, subset)


def test_natural_order() -> None:
    names = ["a2b1", "a2b10", "a10", "b", "s1", "s01", "s2"]
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(shuffled, key=natural)[:4] == ["a2b1", "a2b10", "a10", "b"]
    assert sorted(["1", "a", "-"], key=natural)[0] == "1"  # numbers and texts can be compared


def test_pairings() -> None:
    names = ["a", "b", "c", "atlas"]
    chosen = (0, 1, 2)
    every = pair_up(names, chosen, "all")
    assert len(every) == len(set(every)) == 6 and all(m != f for m, f in every)
    assert {n for pair in every for n in pair} == set(chosen)
    assert pair_up(names, chosen, "cyclic") == ((1, 0), (2, 1), (0, 2))
    assert pair_up(names, (0, 3, 1), "atlas", atlas="at*") == ((3, 0), (3, 1))
    assert pair_up(names, chosen, "listed", listed=((0, 1), (3, 2), (2, 0))) == ((0, 1), (2, 0))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (((0, 1), "some"), "'some' is unknown; all, cyclic, atlas or listed was expected"),
        (((0,), "all"), "makes no pair of 1 chosen cases"),
        (((0,), "cyclic"), "makes no pair"),
        (((0, 1), "listed"), "no pair of 2 chosen cases and 0 listed pairs"),
        (((0, 1), "atlas", "*"), "means 3 cases"),
        (((0, 1), "atlas"), "the atlas '' means 0 cases"),
    ],
)
def test_pairings_that_make_no_pair(arguments, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        pair_up(["a", "b", "c"], *arguments)


def test_choosing_needs_no_reader_of_images() -> None:
    script = (
        "import sys, sacbnet.data.cases\n"
        "print(sorted({'torch', 'nibabel', 'SimpleITK'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


# -- fewer pairs -----------------------------------------------------------------------------------
@given(st.integers(1, 12), st.integers(0, 150))
def test_fewer_pairs_are_spread_over_all(cases, limit) -> None:
    pairs = pair_up([str(n) for n in range(cases + 1)], range(cases + 1), "all")
    taken = spread(pairs, limit)
    at = [pairs.index(pair) for pair in taken]
    assert at == sorted(set(at)) and len(at) == (min(limit, len(pairs)) if limit else len(pairs))
    gaps = [b - a for a, b in zip([-1, *at], [*at, len(pairs)], strict=True)]
    assert max(gaps) <= 2 * -(-len(pairs) // len(at))  # no stretch is left out


@pytest.mark.parametrize("limit", [5, 9, 10, 15, 20, 30])
def test_fewer_of_all_pairs_are_of_many_images_on_both_sides(limit) -> None:
    taken = spread(pair_up([str(n) for n in range(10)], range(10), "all"), limit)
    for side in zip(*taken, strict=True):
        assert len(set(side)) >= min(limit, 10) / 2
    assert len({fixed for _, fixed in taken}) >= min(limit, 10) - 1
