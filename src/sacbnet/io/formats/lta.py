"""FreeSurfer's LTA: one linear transform, with the geometry of both images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sacbnet.errors import GridError, InputError
from sacbnet.io.convention import Between, Convention
from sacbnet.io.format import TransformFormat
from sacbnet.io.matrices import matrix_text, text_of_matrix_file
from sacbnet.spatial.composition import AnyTransform
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine

_VOXELS, _WORLD = 0, 1  # LINEAR_VOX_TO_VOX, LINEAR_RAS_TO_RAS
_LARGEST = 1 << 18
_SAME_MM = 0.01
_AXES = ("xras", "yras", "zras")


@dataclass(frozen=True)
class _Lta:
    """What a file holds: its type, its matrix from src to dst, and both geometries."""

    kind: int
    matrix: NDArray[np.float64]
    source: Grid | None
    target: Grid | None


class Lta(TransformFormat):
    """LTA files with one matrix, between voxels (type 0) or between places in the scanner (1)."""

    suffixes = (".lta",)
    written = suffixes
    tools = ("lta",)
    dense = False
    convention = Convention(
        "points of moving (src) -> points of fixed (dst); inverted when it is read",
        "mm (type 1) or voxels (type 0)",
        "RAS of the scanner",
    )

    @override
    def read_between(self, path: Path, between: Between) -> Affine:
        """Read the matrix; type 0 takes the geometries of the file, else those of the images."""
        found = _parsed(path)
        source, target = found.source or between.moving, found.target or between.fixed
        _check_direction(path, found, between)
        matrix = found.matrix
        if found.kind == _VOXELS:
            if source is None or target is None:
                raise InputError(
                    f"{path} maps voxels to voxels and does not state the geometry of its images;"
                    " give --fixed and --moving"
                )
            matrix = target.affine @ matrix @ source.inverse_affine
        try:
            return Affine(matrix).inverse
        except GridError as error:
            raise InputError(f"{path}: {error}") from error

    @override
    def write_between(self, path: Path, content: AnyTransform, between: Between) -> None:
        """Write type 1, with the geometries of the images as far as they are known."""
        assert isinstance(content, Affine)
        head = (
            "type      = 1 # LINEAR_RAS_TO_RAS\nnxforms   = 1\n"
            "mean      = 0.0000 0.0000 0.0000\nsigma     = 1.0000\n1 4 4\n"
        )
        geometries = (
            f"src volume info\n{_geometry(between.moving)}dst volume info\n"
            f"{_geometry(between.fixed)}"
        )
        text = head + matrix_text(content.inverse.matrix) + geometries
        path.write_text(text + "subject none\nfscale 0.150000\n", encoding="utf-8")


def _geometry(grid: Grid | None) -> str:
    known = grid is not None and grid.is_orthogonal
    grid = grid if grid is not None and known else Grid((256, 256, 256), np.eye(4))
    middle = grid.world(np.array(grid.shape) / 2)
    rows = [
        f"valid = {int(known)}  # volume info {'' if known else 'in'}valid",
        "filename = none",
        "volume = " + " ".join(map(str, grid.shape)),
        "voxelsize = " + " ".join(f"{s:.15e}" for s in grid.spacing),
        *(
            f"{name}   = " + " ".join(f"{d:.15e}" for d in grid.direction[:, n] + 0.0)
            for n, name in enumerate(_AXES)
        ),
        "cras   = " + " ".join(f"{c:.15e}" for c in middle),
    ]
    return "\n".join(rows) + "\n"


def _parsed(path: Path) -> _Lta:
    text = text_of_matrix_file(path, _LARGEST)
    if text is None:
        raise InputError(f"{path} is no text of at most {_LARGEST} bytes; an LTA was expected")
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    try:
        at = lines.index("1 4 4")
        fields = dict(_field(line) for line in lines[:at])
        kind, count = int(fields["type"]), int(fields["nxforms"])
        matrix = np.array([[float(x) for x in line.split()] for line in lines[at + 1 : at + 5]])
        if matrix.shape != (4, 4):
            raise ValueError(f"a matrix of shape {matrix.shape}")
        source, target = (_volume(lines, f"{side} volume info") for side in ("src", "dst"))
    except (ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"{path} is no LTA of FreeSurfer ({error}); write it again with lta_convert"
        ) from error
    if count != 1 or kind not in (_VOXELS, _WORLD):
        raise InputError(
            f"{path} holds {count} transforms of type {kind}; one of type 0 (voxels) or 1 (RAS) was"
            " expected: convert it with lta_convert --outlta"
        )
    return _Lta(kind, matrix, source, target)


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name.strip(), value.strip()


def _volume(lines: list[str], title: str) -> Grid | None:
    """The geometry of an image; None if the file says that it does not know it."""
    if title not in lines:
        return None
    start = lines.index(title) + 1
    values = dict(_field(line) for line in lines[start : start + 8])
    if int(values.get("valid", "0")) != 1:
        return None

    def three(name: str) -> NDArray[np.float64]:
        found = np.array([float(x) for x in values[name].split()])
        if found.shape != (3,):
            raise ValueError(f"{name} = {values[name]}")
        return found

    shape = three("volume").astype(int)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([three(name) for name in _AXES], axis=1) * three("voxelsize")
    affine[:3, 3] = three("cras") - affine[:3, :3] @ (shape / 2)
    try:
        return Grid(tuple(shape.tolist()), affine)
    except GridError as error:
        raise ValueError(str(error)) from error


def _check_direction(path: Path, found: _Lta, between: Between) -> None:
    """Refuse a file that leads the other way; its geometries tell where the images differ."""

    def lies(grid: Grid | None, on: Grid | None) -> bool:
        return grid is not None and on is not None and grid.matches(on, _SAME_MM)

    right = lies(found.source, between.moving) or lies(found.target, between.fixed)
    if not right and lies(found.source, between.fixed) and lies(found.target, between.moving):
        raise InputError(
            f"{path} leads from the grid of the fixed image to that of the moving one (src, dst);"
            " moving to fixed was expected: exchange the images, or invert the transform"
        )
