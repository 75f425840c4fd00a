"""The table of datasets: what it lists, and a made-up dataset that joins from another package."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from sacbnet.data import source as table
from sacbnet.data.cases import Case, PairList
from sacbnet.data.check import check
from sacbnet.data.pack import is_pack, open_pack
from sacbnet.data.packing import build_pack
from sacbnet.data.source import is_source, read_cases
from sacbnet.errors import InputError
from sacbnet.io import table as io_table
from sacbnet.io.images import load_image


class Lines(table.Source):
    """A text file with a line for each case: image, labels; each case is paired with the first."""

    expected = "a .cases"

    def recognises(self, path: Path) -> bool:
        return path.suffix == ".cases"

    def read(self, path: Path) -> PairList:
        rows = [line.split() for line in path.read_text().splitlines()]
        cases = tuple(Case(f"case{n}", Path(i), Path(k)) for n, (i, k) in enumerate(rows))
        return PairList(cases, tuple((0, n) for n in range(1, len(cases))))


class Absent:
    pass


@pytest.fixture
def outside(monkeypatch):
    """Install `Lines` as an entry point of another package."""
    monkeypatch.setitem(sys.modules, "otherpackage", sys.modules[__name__])
    points = {"lines": "otherpackage:Lines"}

    def entry_points(group):
        found = points if group == "sacbnet.datasets" else {}
        return [EntryPoint(name, value, group) for name, value in found.items()]

    monkeypatch.setattr(io_table, "entry_points", entry_points)
    table.all_sources.cache_clear()
    yield points
    table.all_sources.cache_clear()


@pytest.fixture
def listed(tmp_path, shapes) -> Path:
    cases = read_cases(shapes).cases
    path = tmp_path / "set.cases"
    path.write_text("".join(f"{case.image} {case.labels}\n" for case in cases))
    return path


def test_every_module_of_the_folder_is_in_the_table_once():
    found = table.all_sources()
    modules = [type(one).__module__.rpartition(".")[2] for one in found]
    folder = Path(table.folder.__file__).parent
    assert sorted(modules) == sorted({p.stem for p in folder.glob("*.py")} - {"__init__"})
    assert table.expected() == "a folder, a .csv or a Learn2Reg .json"


def test_a_dataset_of_another_package_is_checked_and_packed(outside, listed, shapes, tmp_path):
    found = read_cases(listed)
    ours = read_cases(shapes).cases
    assert [case.image for case in found.cases] == [case.image for case in ours]
    assert found.pairs == tuple((0, n) for n in range(1, len(ours)))
    assert not [f for f in check(found.cases, found.pairs) if f.severity == "error"]
    pack = build_pack(found.cases, tmp_path / "a.pack", pairs=found.pairs)
    theirs = build_pack(ours, tmp_path / "b.pack")
    assert pack.names == tuple(f"case{n}" for n in range(len(ours))) and pack.pairs == found.pairs
    for n in range(len(ours)):
        assert np.array_equal(pack.image(n), theirs.image(n))
        assert np.array_equal(pack.labels(n), theirs.labels(n))
    assert load_image(found.cases[0].labels, "labels").data.max() == pack.labels(0).max()


def test_without_that_package_the_dataset_is_not_known(listed):
    assert not is_source(listed)
    with pytest.raises(InputError, match=r"no list of cases; a folder, a \.csv or a Learn2Reg"):
        read_cases(listed)


def test_messages_list_the_datasets_of_other_packages(outside, tmp_path):
    with pytest.raises(InputError, match=r"does not exist; a \.cases, a folder, a \.csv or"):
        read_cases(tmp_path / "nothing.cases")


def test_a_dataset_that_cannot_be_used_is_left_out(outside, listed, shapes):
    outside["broken"] = "otherpackage:Absent"
    table.all_sources.cache_clear()
    with pytest.warns(UserWarning, match=r"the dataset 'broken' .*derived from Source.*left out"):
        assert read_cases(listed).cases
    assert read_cases(shapes).cases


def test_packs_are_known_by_their_content(tmp_path, pack):
    again = tmp_path / "named.csv"
    again.write_bytes(pack.path.read_bytes())
    assert is_pack(again) and open_pack(again).names == pack.names
    again.write_text("image\n")
    assert not is_pack(again) and not is_pack(tmp_path) and not is_pack(tmp_path / "absent")
