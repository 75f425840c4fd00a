"""NRRD: images and displacement fields."""

from __future__ import annotations

import re
from pathlib import Path

from typing_extensions import override

from sacbnet.errors import GridError, InputError
from sacbnet.io.bounds import DEFLATE, check_promise, count_of
from sacbnet.io.format import first_bytes
from sacbnet.io.itk_files import ItkField, ItkImage, Stated, stated

_LONGEST_FIELD = 1000  # bytes; teem, which reads NRRD for ITK, crashes on some beyond 4096
_LONGEST_TEXT = 1 << 16  # bytes of a line of free text: a comment, or a key with its value
_LONGEST_HEADER = 1 << 22
_BYTES = {"char": 1, "short": 2, "int": 4, "long": 8, "float": 4, "double": 8}
_SPACES = ("left", "right", "lps", "ras", "las", "scanner")  # the words that name an orientation


def _header(path: Path) -> dict[str, str]:
    """The fields of a header; its lines are measured before ITK reads it."""
    size, fields = 0, {}
    with path.open("rb") as file:
        if not file.read(4).startswith(b"NRRD"):
            return {}  # ITK refuses it
        file.readline(_LONGEST_TEXT)
        while (line := file.readline(_LONGEST_TEXT + 2)).strip():
            free = line.startswith(b"#") or b":=" in line
            longest = _LONGEST_TEXT if free else _LONGEST_FIELD
            size += len(line)
            if len(line.rstrip()) > longest or size > _LONGEST_HEADER:
                raise InputError(
                    f"{path} has a header with a line of {len(line)} bytes or more; at most"
                    f" {longest} were expected: the file is damaged"
                )
            if b"\r" in line.rstrip(b"\r\n"):  # for ITK a line ends there, whatever its length
                raise InputError(
                    f"{path} has a header with a carriage return inside a line: the file is damaged"
                )
            name, colon, value = line.decode("utf-8", "replace").partition(":")
            if colon and not free:
                fields[name.strip().lower()] = value.strip()
    return fields


def _look(path: Path) -> Stated:
    """Find what ITK's reader does not say, and what it would allocate too much memory for."""
    fields = _header(path)
    if not fields:
        return Stated()
    _check_size(path, fields)
    vectors = re.findall(r"\(.*?\)|none", fields.get("space directions", ""))
    kinds = fields.get("kinds", "").split()
    if len(kinds) == len(vectors):  # the axis of the components has no direction
        vectors = [v for v, kind in zip(vectors, kinds, strict=True) if _is_domain(kind)]
    spacings = fields.get("spacings", "").split()
    directed = [v for v in vectors if v != "none"]
    sizes = [s for s in spacings if s.lower().lstrip("+-") != "nan"]
    if 0 < len(directed) < min(3, len(vectors)) or (not directed and 0 < len(sizes) < 3):
        raise GridError(
            f"{path} states the voxel size of only {len(directed) or len(sizes)} of its 3 axes;"
            " correct the header"
        )
    units = re.findall(r'"(.*?)"', fields.get("space units", ""))
    if not units and not directed:
        units = re.findall(r'"(.*?)"', fields.get("units", ""))
    named = fields.get("space", "").lower().startswith(_SPACES)
    return stated(units, bool(directed or sizes), bool(directed) and named, str(path))


def _is_domain(kind: str) -> bool:
    return kind.lower() in ("domain", "space", "none", "???")


def _check_size(path: Path, fields: dict[str, str]) -> None:
    sizes = fields.get("sizes", "").split()
    words = [w for w in fields.get("type", "").lower().split() if w not in ("signed", "unsigned")]
    width = _BYTES.get(words[0], 8) if words else 1
    if bits := re.search(r"\d+", words[0] if words else ""):  # int16, uint8_t
        width = max(1, int(bits[0][:3]) // 8)
    count = count_of(tuple(int(s) for s in sizes if s.isdecimal()))
    packed = fields.get("encoding", "").lower() in ("gz", "gzip", "bz2", "bzip2")
    other = fields.get("data file", fields.get("datafile", ""))
    file = path.parent / other if other else path
    whole = not other or (not other.lower().startswith("list") and "%" not in other)
    if whole and not file.is_file():
        raise InputError(f"{path} names the file {file} for its voxels, which does not exist")
    stored = count * width if whole and "text" not in fields.get("encoding", "") else 0
    check_promise(
        file if whole else path, stored, count * (2 * width + 8), DEFLATE if packed else 1
    )


class Nrrd(ItkImage):
    """NRRD images. They are written without compression.

    A full disk can cut the end of a compressed file, and no reader would notice the cut.
    """

    suffixes = (".nrrd", ".nhdr")
    written = (".nrrd",)
    compressed = False
    look = staticmethod(_look)


class NrrdField(ItkField):
    """NRRD displacement fields: vector voxels, mm, LPS components."""

    suffixes = (".nrrd", ".nhdr")
    written = (".nrrd",)
    tools = ("itk", "slicer")
    compressed = False
    look = staticmethod(_look)

    @override
    def recognises(self, path: Path) -> bool:
        """Look at the first four letters."""
        return first_bytes(path).startswith(b"NRRD")
