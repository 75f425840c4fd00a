"""Cases in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sacbnet.data.cases import Case, pair_up
from sacbnet.data.subjects import Reader, Subject
from sacbnet.imaging.image import Image
from sacbnet.spatial.grid import Grid


def test_cases_are_read_once_as_far_as_they_fit(monkeypatch):
    """Arrays without memory of their own stand for images of 10 MB, and of 1 GB."""
    pairs = pair_up([str(n) for n in range(10)], range(10), "all")
    reads = []

    def subject(megabytes):
        def read(case):
            reads.append(case)
            data = np.broadcast_to(np.uint8(1), (megabytes, 1000, 1000))
            return Subject(case, Image(data, Grid(data.shape, np.eye(4))), None, None)

        monkeypatch.setattr("sacbnet.data.subjects._read", read)
        reads.clear()
        reader = Reader([Case(str(n), Path()) for n in range(10)])
        assert all(reader(n).case.name == str(n) for pair in pairs for n in pair)
        return len(reads), len(reader._kept)

    assert subject(10) == (10, 10)
    assert subject(1000)[1] == 8
