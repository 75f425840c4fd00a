"""MetaImage: images and displacement fields."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from sacbnet.errors import InputError
from sacbnet.io.bounds import DEFLATE, check_promise, count_of
from sacbnet.io.format import first_bytes
from sacbnet.io.itk import itk_name
from sacbnet.io.itk_files import ItkField, ItkImage, Stated, stated

_LONGEST, _MOST_LINES = 1000, 1000
_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 8, "FLOAT": 4, "DOUBLE": 8}
_SIZES = ("ElementSpacing", "ElementSize")
_TURNS = ("TransformMatrix", "Rotation", "Orientation")


def _header(path: Path) -> dict[str, str]:
    """The fields of a header, checked where ITK's reader ends the process."""
    itk_name(path)  # a name that ITK cannot open is the first thing to say
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for _ in range(_MOST_LINES):
            line = file.readline(_LONGEST + 2)
            key, equals, value = (part.strip() for part in line.partition(b"="))
            if not equals or len(line) > _LONGEST or not value.decode("latin1").isprintable():
                break
            if key == b"NDims" and value not in (b"1", b"2", b"3", b"4", b"5"):
                break
            fields[key.decode("latin1")] = value.decode("utf-8", "replace")
            if key == b"ElementDataFile":
                return fields
    raise InputError(
        f"{path} cannot be read: damaged, cut short or not an image (damaged header: lines"
        " 'name = value', NDims from 1 to 5 and ElementDataFile at the end were expected)"
    )


def _look(path: Path) -> Stated:
    """Find what ITK's reader does not say, and what it would allocate too much memory for."""
    fields = _header(path)
    sizes = [int(s) for s in fields.get("DimSize", "").split() if s.isdecimal()]
    kind = fields.get("ElementType", "").upper().removeprefix("MET_").removeprefix("U")
    channels = fields.get("ElementNumberOfChannels", "1")
    count = count_of((*sizes, int(channels) if channels.isdecimal() else 1))
    width = 8 if kind.startswith("LONG_LONG") else _BYTES.get(kind.removesuffix("_ARRAY"), 1)
    other = fields["ElementDataFile"]
    local = other.upper() == "LOCAL"
    whole = local or (not other.upper().startswith("LIST") and "%" not in other)
    file = path if local else path.parent / other
    if whole and not file.is_file():
        raise InputError(f"{path} names the file {file} for its voxels, which does not exist")
    stored = count * width if whole else 0
    packed = fields.get("CompressedData", "").lower() == "true"
    check_promise(
        file if whole else path, stored, count * (2 * width + 8), DEFLATE if packed else 1
    )
    units = [fields["DistanceUnits"]] * 3 if "DistanceUnits" in fields else []
    return stated(
        units, any(k in fields for k in _SIZES), any(k in fields for k in _TURNS), str(path)
    )


class MetaImage(ItkImage):
    """MetaImage images: one file (.mha), or a header with a voxel file beside it (.mhd)."""

    suffixes = (".mha", ".mhd")
    written = (".mha",)
    look = staticmethod(_look)


class MetaImageField(ItkField):
    """MetaImage displacement fields: vector voxels, mm, LPS components."""

    suffixes = (".mha", ".mhd")
    written = (".mha",)
    tools = ("itk",)
    look = staticmethod(_look)

    @override
    def recognises(self, path: Path) -> bool:
        """Look at the first words of the header."""
        return first_bytes(path).startswith((b"ObjectType", b"NDims"))
