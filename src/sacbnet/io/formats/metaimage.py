"""MetaImage: images and displacement fields."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from sacbnet.io.format import first_bytes
from sacbnet.io.itk_files import ItkField, ItkImage


class MetaImage(ItkImage):
    """MetaImage images: one file (.mha), or a header with a voxel file beside it (.mhd)."""

    suffixes = (".mha", ".mhd")
    written = (".mha",)


class MetaImageField(ItkField):
    """MetaImage displacement fields: vector voxels, mm, LPS components."""

    suffixes = (".mha", ".mhd")
    written = (".mha",)

    @override
    def recognises(self, path: Path) -> bool:
        """Look at the first words of the header."""
        return first_bytes(path).startswith((b"ObjectType", b"NDims"))
