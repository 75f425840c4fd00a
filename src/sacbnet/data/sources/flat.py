"""One folder of images without labels."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from sacbnet.data.cases import Case, PairList
from sacbnet.data.listing import files_of, image_suffixes, in_order, stem
from sacbnet.data.source import Source
from sacbnet.errors import InputError


class FlatFolder(Source):
    """The images that lie in a folder, not below it."""

    expected = "a folder"

    @override
    def recognises(self, path: Path) -> bool:
        """Accept any folder."""
        return path.is_dir()

    @override
    def read(self, path: Path) -> PairList:
        """Make a case of every image."""
        found = [p for p in files_of(path, image_suffixes()) if p.parent == path]
        if not found:
            raise InputError(
                f"{path} holds no images; images/, images of a known format, or .pkl were expected"
            )
        return PairList(in_order([Case(stem(p.name), p) for p in found], path))
