"""What `check` finds: each fault put into a sound set, and nothing in a sound set."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sacbnet.data.cases import Case
from sacbnet.data.check import Finding, check
from sacbnet.imaging.points import Points
from sacbnet.io.points import save_points

SHAPE = (32, 33, 34)


def image(seed: int, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def labels(shape=SHAPE, values=(0, 1, 2)) -> np.ndarray:
    return np.resize(np.array(values, dtype=np.int16), shape)


@pytest.fixture
def save(tmp_path) -> Callable[..., Path]:
    def write(name: str, data: np.ndarray, affine=None) -> Path:
        nib.save(
            nib.Nifti1Image(data, np.eye(4) if affine is None else affine), tmp_path / f"{name}.nii"
        )
        return tmp_path / f"{name}.nii"

    return write


@pytest.fixture
def cases(save, tmp_path) -> list[Case]:
    """Four sound cases, a to d."""
    points = tmp_path / "points.csv"
    save_points(points, Points(np.ones((3, 3))))
    named = [
        (name, save(name, image(n)), save(f"{name}_seg", labels())) for n, name in enumerate("abcd")
    ]
    return [Case(*files, points) for files in named]


def only(findings: list[Finding], severity: str, case: str, *parts: str) -> None:
    assert len(findings) == 1, findings
    found = findings[0]
    assert (found.severity, found.case) == (severity, case), found
    assert all(part in found.sentence for part in parts), found.sentence
    assert "\n" not in found.sentence


def test_a_sound_set(cases) -> None:
    assert check(cases) == []
    assert check(cases, [(0, 1), (1, 0), (2, 3)]) == []
    assert check([replace(case, labels=None, points=None) for case in cases]) == []
    assert check([]) == []


# -- files and images ------------------------------------------------------------------------------
def test_files_that_cannot_be_read(cases, tmp_path) -> None:
    cases[1].image.write_bytes(cases[1].image.read_bytes()[:5000])
    only(check(cases), "error", "b", "b.nii", "cannot be read")
    cases[1] = replace(cases[1], image=tmp_path / "gone.nii")
    only(check(cases), "error", "b", "gone.nii does not exist")
    cases[1] = replace(cases[0], name="e", labels=tmp_path / "gone.nii")
    only(check(cases), "error", "e", "gone.nii does not exist")


@pytest.mark.parametrize(
    ("value", "where", "word"),
    [(3.0, slice(1), "constant"), (np.nan, slice(1), "constant"), (np.nan, slice(None), "NaN or")],
)
def test_images_that_show_nothing(cases, save, value, where, word) -> None:
    data = np.full(SHAPE, 3.0, np.float32)
    data[where] = value
    save("c", data)
    only(check(cases), "error", "c", "c.nii", word)


def test_what_is_not_finite_counts_as_outside(cases, save) -> None:
    data = image(2).astype(np.float32)
    data[:2] = np.nan
    save("c", data)
    assert not [f for f in check(cases) if f.severity == "error"]


def test_pickles(cases, tmp_path) -> None:
    for name, thing in {"good": (image(9), labels()), "bad": (image(9), labels(), 3)}.items():
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(thing))
    assert check([*cases, Case("e", tmp_path / "good.pkl")]) == []
    only(check([*cases, Case("e", tmp_path / "bad.pkl")]), "error", "e", "bad.pkl holds 3 things")


def test_small_images(cases, save) -> None:
    small = [
        Case(n, save(n, image(s, (40, 31, 40))), save("seg", labels((40, 31, 40))))
        for s, n in enumerate("xy")
    ]
    found = check(small)
    assert [f.case for f in found] == ["x", "y"]
    only(found[:1], "warning", "x", "40 × 31 × 40", "32")


def test_the_same_image_twice(cases, save) -> None:
    cases[3] = replace(cases[3], image=save("copy", image(0)))
    only(check(cases), "warning", "d", "same voxels as a")


def test_ambiguous_headers(cases, tmp_path) -> None:
    plain = nib.Nifti1Image(image(1), None)
    plain.header["qform_code"] = plain.header["sform_code"] = 0
    nib.save(plain, tmp_path / "b.nii")
    found = [f for f in check([replace(case, labels=None) for case in cases]) if f.case == "b"]
    assert found and all(f.severity == "warning" for f in found)


# -- labels ----------------------------------------------------------------------------------------
def test_labels_on_another_grid(cases, save) -> None:
    save("b_seg", labels((32, 33, 35)))
    only(check(cases), "error", "b", "b_seg.nii", "(32, 33, 35)", "(32, 33, 34)", "another grid")
    shifted = np.eye(4)
    shifted[0, 3] = 0.5
    save("b_seg", labels(), shifted)
    only(check(cases), "error", "b", "elsewhere in the world")
    save("b_seg", labels(), np.diag([1, 1, 1.1, 1]))
    only(check(cases), "error", "b", "1 × 1 × 1.1 mm")


def test_labels_that_are_none(cases, save) -> None:
    save("b_seg", labels().astype(np.float32) + 0.25)
    only(check(cases), "error", "b", "b_seg.nii", "not whole numbers")


def test_values_that_differ(cases, save) -> None:
    save("c_seg", labels(values=(0, 1, 7, 9)))
    only(check(cases), "warning", "c", "lack 2 and hold 7, 9 besides")
    save("c_seg", labels(values=(0, 0)))
    only(check(cases), "warning", "c", "lack 1, 2,")
    save("c_seg", labels(values=(0, *range(1, 40))))
    only(check(cases), "warning", "c", "hold 3, 4, 5, 6, 7, 8, 9, 10 and 29 more")


def test_negative_values(cases, save) -> None:
    padded = labels()
    padded[:2, 0, 0] = -2
    save("d_seg", padded)
    only(check(cases), "warning", "d", "d_seg.nii", "-2 in 2 voxels", "become 0")


def test_cases_without_labels(cases) -> None:
    cases[2] = replace(cases[2], labels=None)
    only(check(cases), "warning", "c", "no labels", "3 other cases")


# -- the set ---------------------------------------------------------------------------------------
def test_differing_grids(cases, save) -> None:
    unlabelled = [replace(case, labels=None) for case in cases]
    save("b", image(1, (32, 33, 40)))
    only(
        check(unlabelled), "warning", "", "2 shapes (32 × 33 × 34 in a, 32 × 33 × 40 in b); packing"
    )
    save("b", image(1), np.diag([1, 1, 2.5, 1]))
    only(check(unlabelled), "warning", "", "2 spacings (1 × 1 × 1 mm in a, 1 × 1 × 2.5 mm in b)")
    save("b", image(1), np.array([[-1, 0, 0, 31], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    only(check(unlabelled), "warning", "", "2 orientations (RAS in a, LAS in b)")
    for n, name in enumerate("bcd"):
        save(name, image(n + 1, (32, 33, 41 + n)))
    only(check(unlabelled), "warning", "", "4 shapes", "32 × 33 × 41 in b, 32 × 33 × 42 in c, ...)")


def test_fields_of_view_that_do_not_meet(cases, save) -> None:
    far = np.eye(4)
    far[:3, 3] = 0, 0, 40
    for name in "cd":
        save(name, image(ord(name)), far)
        save(f"{name}_seg", labels(), far)
    found = check(cases)
    assert [(f.severity, f.case) for f in found] == [("error", "c"), ("error", "d")]
    assert "shares no place with a" in found[0].sentence and "(16, 16, 56) mm" in found[0].sentence
    assert check(cases, align="centre") == []
    found = check(cases, [(0, 1), (2, 3), (1, 2)])
    # the pair of c and d meets
    assert [f.sentence.split("with ")[1][0] for f in found] == ["a", "a", "b"]
    near = far.copy()
    near[2, 3] = 32
    for name in "cd":
        save(name, image(ord(name)), near)
        save(f"{name}_seg", labels(), near)
    assert check(cases) == []


def test_pairs(cases, tmp_path) -> None:
    only(check(cases, [(0, 1), (2, 2)]), "error", "c", "c as moving and as fixed")
    only(
        check(cases, [(0, 1), (1, 0), (0, 1)]),
        "warning",
        "b",
        "a (moving) and b (fixed) is listed 2 times",
    )


def test_points(cases, tmp_path) -> None:
    more, damaged = tmp_path / "more.csv", tmp_path / "voxels.csv"
    save_points(more, Points(np.ones((4, 3))))
    damaged.write_text("1,2,3\n4,5,6\n")  # as Learn2Reg has them: voxels without a header
    found = check([cases[0], replace(cases[1], points=more)], [(0, 1)])
    only(found, "error", "b", "a has 3 points and b 4")
    only(check([cases[0], replace(cases[1], points=damaged)], [(0, 1)]), "error", "b", "voxels.csv")


def test_all_at_once_in_order(cases, save) -> None:
    save("b", np.zeros(SHAPE, np.float32))
    save("d_seg", labels(values=(0, 5)))
    told: list[tuple[str, float]] = []
    found = check(cases, [(1, 0), (3, 3)], progress=lambda *what: told.append(what))
    assert [(f.severity, f.case) for f in found] == [
        ("error", "b"),
        ("warning", "d"),
        ("error", "d"),
    ]
    assert told == [("a", 0.0), ("b", 0.25), ("c", 0.5), ("d", 0.75)]
