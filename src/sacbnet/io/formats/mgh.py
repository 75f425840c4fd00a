"""FreeSurfer's MGH and MGZ."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
from typing_extensions import override

from sacbnet.imaging.image import Image
from sacbnet.io.format import ImageFormat
from sacbnet.io.nibabel_images import read_nibabel, save_nibabel


class Mgh(ImageFormat):
    """FreeSurfer's images."""

    suffixes = (".mgz", ".mgh")
    written = (".mgz",)

    @override
    def read(self, path: Path) -> Image:
        """Read through nibabel."""
        return read_nibabel(path)

    @override
    def read_grid(self, path: Path) -> Image:
        """Read the header only."""
        return read_nibabel(path, grid_only=True)

    @override
    def write(self, path: Path, content: Image) -> None:
        """Write through nibabel."""
        save_nibabel(nib.MGHImage(content.data, content.grid.affine), path)
