"""Folders of TransMorph's pickles, each with an image and its labels."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from sacbnet.data.cases import Case, PairList
from sacbnet.data.listing import files_of, in_order, stem
from sacbnet.data.pickles import PICKLES
from sacbnet.data.source import Source


class Pickles(Source):
    """A folder with pickles in it or below it, such as the preprocessed IXI set."""

    expected = "a folder"

    @override
    def recognises(self, path: Path) -> bool:
        """Look for a pickle, at any depth."""
        return path.is_dir() and next(files_of(path, PICKLES), None) is not None

    @override
    def read(self, path: Path) -> PairList:
        """Make a case of every pickle."""
        found = files_of(path, PICKLES)
        return PairList(in_order([Case(stem(p.relative_to(path)), p) for p in found], path))
