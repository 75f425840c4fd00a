"""MetaImage: images and displacement fields."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from sacbnet.errors import InputError
from sacbnet.io.format import first_bytes
from sacbnet.io.itk import itk_name
from sacbnet.io.itk_files import ItkField, ItkImage

_LONGEST, _MOST_LINES = 1000, 1000


def _check_header(path: Path) -> None:
    """Check what ITK's reader does not: it ends the process at some damaged headers."""
    itk_name(path)  # a name that ITK cannot open is the first thing to say
    with path.open("rb") as file:
        for _ in range(_MOST_LINES):
            line = file.readline(_LONGEST + 2)
            key, equals, value = (part.strip() for part in line.partition(b"="))
            if not equals or len(line) > _LONGEST or not value.decode("latin1").isprintable():
                break
            if key == b"NDims" and value not in (b"1", b"2", b"3", b"4", b"5"):
                break
            if key == b"ElementDataFile":
                return
    raise InputError(
        f"{path} cannot be read: damaged, cut short or not an image (damaged header: lines"
        " 'name = value', NDims from 1 to 5 and ElementDataFile at the end were expected)"
    )


class MetaImage(ItkImage):
    """MetaImage images: one file (.mha), or a header with a voxel file beside it (.mhd)."""

    suffixes = (".mha", ".mhd")
    written = (".mha",)
    check_header = staticmethod(_check_header)


class MetaImageField(ItkField):
    """MetaImage displacement fields: vector voxels, mm, LPS components."""

    suffixes = (".mha", ".mhd")
    written = (".mha",)
    check_header = staticmethod(_check_header)

    @override
    def recognises(self, path: Path) -> bool:
        """Look at the first words of the header."""
        return first_bytes(path).startswith((b"ObjectType", b"NDims"))
