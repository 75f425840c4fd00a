"""Pictures of the worst pairs are kept, and found again by a later session."""

from __future__ import annotations

import pytest

from sacbnet.data.source import read_cases
from sacbnet.data.subjects import Reader
from sacbnet.evaluation.scoring import Found
from sacbnet.reporting.page.worst import Worst, badness
from sacbnet.spatial.transforms import DisplacementField


@pytest.fixture(scope="module")
def subject(shapes):
    return Reader(read_cases(shapes).cases)(0)


def look(worst, subject, method, name, dice) -> None:
    found = Found(DisplacementField.zeros(subject.image.grid), 1.0, 1.0)
    row = {"method": method, "moving": name, "fixed": "f/1", "dice_nearest": dice}
    worst(row, fixed=subject, moving=subject, found=found)


def test_the_order_is_by_dice_else_by_distance() -> None:
    assert badness({"dice_nearest": 0.2}) > badness({"dice_nearest": 0.9, "tre_mm": 50.0})
    assert badness({"tre_mm": 5.0}) > badness({"tre_mm": 1.0}) > badness({})
    assert badness({"dice_nearest": float("nan"), "tre_mm": 2.0})[0] == 2.0


def test_files_of_the_worst_stay_and_others_go(subject, tmp_path) -> None:
    worst = Worst(2, tmp_path / "pictures")
    for name, dice in {"a": 0.5, "b": 0.9, "c": 0.3, "d": 0.95, "e": 0.4}.items():
        look(worst, subject, "SyN, 2", name, dice)
    assert set(worst.pictures["SyN, 2"]) == {("c", "f/1"), ("e", "f/1")}
    files = sorted(p.name for p in (tmp_path / "pictures").iterdir())
    assert files == ["SyN-2_c_to_f-1.jpg", "SyN-2_e_to_f-1.jpg"]
    later = Worst(2, tmp_path / "pictures")
    assert later.picture("SyN, 2", ("c", "f/1")) == worst.picture("SyN, 2", ("c", "f/1"))
    assert later.picture("SyN, 2", ("a", "f/1")) is None
    look(worst, subject, "SyN, 2", "c", 0.6)  # a better seed of the same pair
    assert worst.pictures["SyN, 2"][("c", "f/1")][0][0] == -0.3
