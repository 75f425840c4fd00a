"""What a click shows: the point in both images, and its displacement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.registration.apply import Side
from sacbnet.spatial.grid import Grid

from .scene import Scene

Where = Literal["first", "other"]
Vector = NDArray[np.float64]
_LPS = np.array([-1.0, -1.0, 1.0])  # between RAS and LPS, either way


def point(scene: Scene, on: Where, at: Sequence[float]) -> dict[str, Any]:
    """Find a point in both images.

    Parameters
    ----------
    scene : Scene
        What is shown.
    on : {"first", "other"}
        The image that was clicked: the fixed or the moving one.
    at : sequence of 3 float
        Where, in voxels of its frame, counted from 0.

    Returns
    -------
    dict[str, Any]
        Plain values for JSON. "first" and "other": the point in each image, mm in LPS and in RAS,
        in voxels of the file (i, j, k) and of the frame ("at"), and the image's value there.
        "displacement": from the first to the other one, mm. "expected_error_mm", or None.
    """
    there = np.asarray(at, dtype=np.float64)
    if on == "first":
        p = scene.first.frame.grid.world(there)
        q = _mapped(scene, p, "moving")
    else:
        q = _frame_grid(scene).world(there)
        p = _mapped(scene, q, "fixed")
    error = None if scene.error is None else _value(scene.error, p)
    return {
        "first": _place(p, scene.first.frame.grid, scene.first.image),
        "second": None if scene.second is None else _value(scene.second.image, p),
        "other": _place(q, _frame_grid(scene), None if scene.other is None else scene.other.image),
        "displacement": _displacement(scene, p, q),
        "expected_error_mm": error,
    }


def _frame_grid(scene: Scene) -> Grid:
    """The grid of the frame of the moving image."""
    return scene.other_grid.canonical()[0] if scene.other is None else scene.other.frame.grid


def _mapped(scene: Scene, p: Vector, onto: Side) -> Vector:
    if scene.warper is None:  # both images lie in one world
        return p
    return np.asarray(scene.warper.points(Points(p[None]), onto)[0].xyz[0])


def _place(p: Vector, frame: Grid, image: Image | None) -> dict[str, Any]:
    return {
        "lps": _numbers(p * _LPS),
        "ras": _numbers(p),
        "voxel": None if image is None else _numbers(image.grid.voxels(p)),
        "at": _numbers(frame.voxels(p)),
        "inside": bool(frame.contains(p)),
        "value": None if image is None else _value(image, p),
    }


def _value(image: Image, p: Vector) -> float | None:
    """The value of the voxel in which a point lies; None outside."""
    if not image.grid.contains(p):
        return None
    last = np.array(image.grid.shape) - 1
    i, j, k = np.clip(np.round(image.grid.voxels(p)), 0, last).astype(int)
    return float(image.data[i, j, k])


def _displacement(scene: Scene, p: Vector, q: Vector) -> dict[str, Any] | None:
    warper = scene.warper
    if warper is None:
        return None
    beyond = None
    if warper.affine is not None:
        beyond = float(np.linalg.norm(warper.affine.inverse(q) - p))
    u = q - p
    return {
        "lps": _numbers(u * _LPS),
        "ras": _numbers(u),
        "mm": float(np.linalg.norm(u)),
        "beyond_affine_mm": beyond,
    }


def _numbers(values: Vector) -> list[float]:
    return [round(float(v), 4) + 0.0 for v in values]  # + 0.0: no minus before a zero
