"""GIFTI surfaces, as FreeSurfer, the Connectome Workbench and fMRIPrep write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from typing_extensions import override

from sacbnet.errors import InputError
from sacbnet.io.surfaces import Surface, SurfaceFormat, Vertices

_POINTS = "NIFTI_INTENT_POINTSET"
_CENTRE = ("VolGeomC_R", "VolGeomC_A", "VolGeomC_S")


class Gifti(SurfaceFormat):
    """GIFTI files with one set of vertices, in RAS."""

    suffixes = (".gii",)
    written = suffixes

    @override
    def read(self, path: Path) -> Surface:
        """Read the vertices through nibabel."""
        image: Any = nib.load(path)
        sets = image.get_arrays_from_intent(_POINTS)
        if len(sets) != 1:
            raise InputError(
                f"{path} holds {len(sets)} sets of vertices; a surface with one was expected"
            )
        array = sets[0]
        vertices = np.asarray(array.data, dtype=np.float64)

        def rebuild(moved: Vertices) -> bytes:
            before, array.data = array.data, moved.astype(np.float32)
            content: bytes = image.to_bytes()
            array.data = before
            return content

        return Surface(vertices, "RAS", True, rebuild, _notes(path, array))


def _notes(path: Path, array: Any) -> tuple[str, ...]:
    """FreeSurfer's own surfaces lie about the centre of their volume, not in the scanner."""
    meta = dict(array.meta)
    try:
        centre = [float(meta[name]) for name in _CENTRE]
    except (KeyError, ValueError):
        return ()
    if max(abs(c) for c in centre) < 1e-3:
        return ()
    return (
        f"{path} was made by FreeSurfer for a volume whose centre is not 0; if its vertices are"
        " surface RAS, convert it first (mris_convert --to-scanner)",
    )
