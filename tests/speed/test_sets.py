"""The pairs that the benchmarks of real images register."""

import importlib
from pathlib import Path


def test_the_pairs(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "speed"))
    sets = importlib.import_module("sets").SETS
    lpba, malf = sets["lpba40"], sets["malf"]
    assert len(lpba.labels) == 54 and not {181, 182} & set(lpba.labels)
    assert len(set(lpba.pairs)) == 20 and all(m != f for m, f in lpba.pairs)
    assert lpba.pairs[:5] == (
        ("S37", "S36"),
        ("S38", "S37"),
        ("S39", "S38"),
        ("S40", "S39"),
        ("S36", "S40"),
    )
    assert not malf.labels and len(malf.pairs) == 14
    assert {f for _, f in malf.pairs} == {"1000"} and ("1000", "1000") not in malf.pairs
