"""ITK's transform files that hold more than an affine: HDF5 files, and text with fields or splines.

ANTs writes its composites so (Composite.h5), and 3D Slicer its grid and B-spline transforms.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk
from typing_extensions import override

from sacbnet.errors import GridError, InputError
from sacbnet.io.convention import Between
from sacbnet.io.format import TransformFormat
from sacbnet.io.headers import LPS, named_grid
from sacbnet.io.itk import (
    field_of_lps,
    image_to_itk,
    itk_name,
    lps_components,
    matrix_of_corners,
    plain_numbers,
)
from sacbnet.io.itk_process import run_itk
from sacbnet.spatial.composition import AnyTransform, composed, parts_of
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

_HDF5 = b"\x89HDF\r\n\x1a\n"
_TEXT = b"#Insight Transform File"
_DENSE = re.compile(rb"^\s*Transform:\s*(DisplacementField|BSpline|GaussianExp)", re.MULTILINE)
_HEAD = 1 << 16  # bytes in which a text file names its first transforms


class ItkTransform(TransformFormat):
    """HDF5 files of ITK: affines, displacement fields, B-splines, or several composed.

    B-splines are sampled on the fixed image, so they need its grid.
    """

    suffixes = (".h5", ".hdf5", ".tfm", ".txt")
    written = (".h5",)
    tools = ("itk-h5", "slicer")

    @override
    def recognises(self, path: Path) -> bool:
        """Look at the first bytes; in a text file, for the name of a transform that is dense."""
        if path.is_dir():
            return False
        with path.open("rb") as file:
            head = file.read(len(_TEXT))
            if head.startswith(_HDF5):
                return True
            return head == _TEXT and _DENSE.search(file.read(_HEAD)) is not None

    @override
    def read_between(self, path: Path, between: Between) -> AnyTransform:
        """Read in another process, because HDF5's library can crash on damaged files."""
        itk_name(path)
        with TemporaryDirectory() as name:
            folder = Path(name)
            if between.fixed is not None:
                (folder / "grid.json").write_text(json.dumps(_itk_geometry(between.fixed)))
            size = path.stat().st_size
            found = run_itk("transform", path, size, f"the transform {path}", folder)
            if found["dimension"] != 3:
                raise InputError(
                    f"{path} is a {found['dimension']}-D transform; a 3-D one was expected"
                )
            return composed(*(_part(path, folder, part) for part in found["parts"]))

    @override
    def write_between(self, path: Path, content: AnyTransform, between: Between) -> None:
        """Write through SimpleITK: one transform, or a composite of several."""
        parts = [_to_itk(path, part) for part in parts_of(content) or (Affine(),)]
        whole = parts[0] if len(parts) == 1 else sitk.CompositeTransform(parts)
        with plain_numbers():
            sitk.WriteTransform(whole, itk_name(path))
        # a full disk can cut the file without an error
        self.read_between(path, between)


def _itk_geometry(grid: Grid) -> dict[str, Any]:
    like = image_to_itk(np.zeros((1, 1, 1), np.uint8), grid.orthogonal())
    return {
        "size": list(grid.orthogonal().shape),
        "origin": list(like.GetOrigin()),
        "spacing": list(like.GetSpacing()),
        "direction": list(like.GetDirection()),
    }


def _part(path: Path, folder: Path, part: dict[str, Any]) -> Affine | DisplacementField:
    if "corners" in part:
        try:
            return Affine(matrix_of_corners(part["corners"]))
        except GridError as error:
            raise InputError(f"{path}: {error}") from error
    if "file" not in part:
        raise InputError(
            f"{path} holds a {part['kind']}, which is sampled on the fixed image; give --fixed (or"
            " --reference)"
        )
    components = np.load(folder / part["file"]).transpose(2, 1, 0, 3)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(part["direction"], (3, 3)) * np.array(part["spacing"])
    affine[:3, 3] = part["origin"]
    grid = named_grid(components.shape[:3], LPS @ affine, str(path))
    return field_of_lps(grid, components, str(path))


def _to_itk(path: Path, part: Affine | DisplacementField) -> Any:
    if isinstance(part, Affine):
        matrix = LPS @ part.matrix @ LPS
        transform = sitk.AffineTransform(3)
        transform.SetMatrix((matrix[:3, :3] + 0.0).ravel().tolist())
        transform.SetTranslation((matrix[:3, 3] + 0.0).tolist())
        return transform
    if not part.grid.is_orthogonal:
        raise GridError(
            f"the grid of {path} is sheared, which ITK cannot hold; write the field on"
            " grid.orthogonal()"
        )
    image = image_to_itk(lps_components(part).astype(np.float64), part.grid)
    return sitk.DisplacementFieldTransform(image)
