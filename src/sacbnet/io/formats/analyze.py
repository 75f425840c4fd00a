"""A header file with a voxel file beside it: NIfTI pairs and Analyze 7.5."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from sacbnet.imaging.image import Image
from sacbnet.io.format import ImageFormat
from sacbnet.io.nibabel_images import read_nibabel


class Analyze(ImageFormat):
    """Pairs of .hdr and .img. Analyze 7.5 states no orientation, so it is read as ITK reads it."""

    suffixes = (".hdr", ".img", ".hdr.gz", ".img.gz")

    @override
    def read(self, path: Path) -> Image:
        """Read through nibabel; either file of the pair names the image."""
        return read_nibabel(path)

    @override
    def read_grid(self, path: Path) -> Image:
        """Read the header only."""
        return read_nibabel(path, grid_only=True)
