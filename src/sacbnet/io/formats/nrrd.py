"""NRRD: images and displacement fields."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from sacbnet.io.format import first_bytes
from sacbnet.io.itk_files import ItkField, ItkImage


class Nrrd(ItkImage):
    """NRRD images. They are written without compression.

    A full disk can cut the end of a compressed file, and no reader would notice the cut.
    """

    suffixes = (".nrrd", ".nhdr")
    written = (".nrrd",)
    compressed = False


class NrrdField(ItkField):
    """NRRD displacement fields: vector voxels, mm, LPS components."""

    suffixes = (".nrrd", ".nhdr")
    written = (".nrrd",)
    compressed = False

    @override
    def recognises(self, path: Path) -> bool:
        """Look at the first four letters."""
        return first_bytes(path).startswith(b"NRRD")
