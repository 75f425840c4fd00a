"""The programs of ANTs, as a second opinion on the files that sacbnet writes and reads.

The tests call the compiled programs inside the package antspyx and load neither its Python code nor
its dependencies. Those hold numpy and scipy back, and the tests must run with the versions of
numpy and scipy that users get. `make test` therefore installs antspyx without its dependencies.
Tests that need ANTs are skipped where antspyx is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

LPS = np.array([-1.0, -1.0, 1.0])
Point = Callable[[np.ndarray], np.ndarray]


def library() -> ModuleType:
    """The compiled module of antspyx; a program is a function of the list of its arguments."""
    found = _library()
    if found is None:
        pytest.skip("antspyx is not installed; `make test` installs it without its dependencies")
    return found


@cache
def _library() -> ModuleType | None:
    package = find_spec("ants")
    folders = (package.submodule_search_locations or []) if package else []
    files = [Path(folder) / f"lib{suffix}" for folder in folders for suffix in EXTENSION_SUFFIXES]
    for path in filter(Path.exists, files):
        spec = spec_from_file_location("lib", path)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    return None


def run(program: str, *arguments: object) -> None:
    """Run `antsApplyTransforms` or another program."""
    assert getattr(library(), program)([str(a) for a in arguments]) == 0, f"{program} failed"


def write_affine(
    path: Path, matrix: np.ndarray, centre: Sequence[float], shift: Sequence[float]
) -> Point:
    """Let ANTs write an affine in LPS: `matrix` (3, 3) about `centre`, then `shift` in mm.

    Returns the map of a point (3,) in LPS mm that ANTs itself computes.
    """
    lib = library()
    # matrix, offset, centre, translation, parameters, fixed parameters
    numbers = (matrix.tolist(), [], [*centre], [*shift], [], [])
    transform = lib.matrixOffsetF3("AffineTransform", "float", 3, *numbers)
    lib.writeTransform(transform, str(path))
    return lambda point: np.array(lib.transformPoint(transform, point.tolist()))


def _steps(transforms: Sequence[Path]) -> list[object]:
    return [argument for path in transforms for argument in ("-t", path)]


def moved_image(
    fixed: Path, moving: Path, transforms: Sequence[Path], outside: float = 0.0
) -> np.ndarray:
    """`antsApplyTransforms -t ...`, linear: the values, (i, j, k) on the fixed grid."""
    with TemporaryDirectory() as folder:
        out = Path(folder, "moved.nii")
        images = ("-i", moving, "-r", fixed, "-o", out)
        how = ("-n", "Linear", "--float", 0, "-f", outside)
        run("antsApplyTransforms", "-d", 3, *images, *_steps(transforms), *how)
        return nib.load(out).get_fdata()


def composed_field(fixed: Path, transforms: Sequence[Path], out: Path) -> Path:
    """`antsApplyTransforms -o [out,1]`: the displacement field of all transforms together."""
    images = ("-i", fixed, "-r", fixed, "-o", f"[{out},1]")
    run("antsApplyTransforms", "-d", 3, *images, *_steps(transforms), "--float", 0)
    return out


def moved_points(points: np.ndarray, transforms: Sequence[Path]) -> np.ndarray:
    """`antsApplyTransformsToPoints`: where points (n, 3) in RAS mm go, in RAS mm."""
    with TemporaryDirectory() as folder:
        given, moved = Path(folder, "points.csv"), Path(folder, "moved.csv")
        np.savetxt(given, points * LPS, delimiter=",", header="x,y,z", comments="", fmt="%.9g")
        files = ("-i", given, "-o", moved, *_steps(transforms))
        run("antsApplyTransformsToPoints", "-d", 3, *files, "--precision", 1)
        return np.loadtxt(moved, delimiter=",", skiprows=1, usecols=(0, 1, 2)) * LPS
