"""NRRD: images and displacement fields."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from sacbnet.errors import InputError
from sacbnet.io.format import first_bytes
from sacbnet.io.itk_files import ItkField, ItkImage

_LONGEST_FIELD = 1000  # bytes; teem, which reads NRRD for ITK, crashes on some beyond 4096
_LONGEST_TEXT = 1 << 16  # bytes of a line of free text: a comment, or a key with its value
_LONGEST_HEADER = 1 << 22


def _check_header(path: Path) -> None:
    """Measure the lines of a header before ITK reads it."""
    size = 0
    with path.open("rb") as file:
        if not file.read(4).startswith(b"NRRD"):
            return  # ITK refuses it
        while (line := file.readline(_LONGEST_TEXT + 2)).strip():
            free = line.startswith(b"#") or b":=" in line
            longest = _LONGEST_TEXT if free else _LONGEST_FIELD
            size += len(line)
            if len(line.rstrip()) > longest or size > _LONGEST_HEADER:
                raise InputError(
                    f"{path} has a header with a line of {len(line)} bytes or more; at most"
                    f" {longest} were expected: the file is damaged"
                )


class Nrrd(ItkImage):
    """NRRD images. They are written without compression.

    A full disk can cut the end of a compressed file, and no reader would notice the cut.
    """

    suffixes = (".nrrd", ".nhdr")
    written = (".nrrd",)
    compressed = False
    check_header = staticmethod(_check_header)


class NrrdField(ItkField):
    """NRRD displacement fields: vector voxels, mm, LPS components."""

    suffixes = (".nrrd", ".nhdr")
    written = (".nrrd",)
    compressed = False
    check_header = staticmethod(_check_header)

    @override
    def recognises(self, path: Path) -> bool:
        """Look at the first four letters."""
        return first_bytes(path).startswith(b"NRRD")
