"""The voxels that the browser draws: volumes as NIfTI, and bare arrays for its shader.

All of them lie in the frame of an image (`Frame`): axes towards right, anterior and superior, and
millimetres along these axes, from the middle of the image. The browser therefore knows nothing of
headers and worlds. What it must know of them, it asks the server (`point`).
"""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from sacbnet.imaging.image import Image
from sacbnet.imaging.labels import counts, numbered
from sacbnet.registration.apply import Warper
from sacbnet.reporting.page.frame import Frame
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import DisplacementField, chain

from .scene import Shown

_MOST_LABELS = 65_535  # that a texture of the browser can tell apart
_BEND = 96  # samples of the bend along the longest axis, at most: between them it is smooth


def volume(shown: Shown) -> bytes:
    """Write an image for NiiVue.

    Parameters
    ----------
    shown : Shown
        The image.

    Returns
    -------
    bytes
        A NIfTI file, not compressed. Whole numbers that fit are int16, others float32.
    """
    frame = shown.frame
    data = _small(frame.upright(shown.image.data))
    spacing, shape = frame.grid.spacing, np.array(frame.grid.shape)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -0.5 * (shape - 1) * spacing
    return bytes(nib.Nifti1Image(data, affine).to_bytes())


def _small(data: NDArray[Any]) -> NDArray[Any]:
    limits = np.iinfo(np.int16)
    if limits.min <= data.min() and data.max() <= limits.max:
        whole = data.astype(np.int16)
        if np.array_equal(whole, data):
            return whole
    return data.astype(np.float32, copy=False)


def label_texture(frame: Frame, labels: Image) -> bytes:
    """Write a label map for the shader.

    Parameters
    ----------
    frame : Frame
        The frame of the image over which it is drawn.
    labels : Image
        The map, on the grid of that image.

    Returns
    -------
    bytes
        uint16, the first axis runs fastest. The labels are numbered; 0 stays 0.
    """
    upright = frame.upright(labels.data)
    known = [label for label in counts(upright) if label != 0]
    asked = known[:_MOST_LABELS]  # a map of more labels than that has none a user could tell apart
    return bytes(numbered(upright, asked).astype(np.uint16).tobytes("F"))


def error_texture(frame: Frame, error: Image) -> bytes:
    """Write the expected error for the shader.

    Parameters
    ----------
    frame : Frame
        The frame of the fixed image.
    error : Image
        The expected error, mm, on the grid of that image.

    Returns
    -------
    bytes
        float16, mm, the first axis runs fastest.
    """
    return bytes(frame.upright(error.data).astype(np.float16).tobytes("F"))


def bend_grid(frame: Frame) -> Grid:
    """Choose where the bend is sampled.

    Parameters
    ----------
    frame : Frame
        The frame of the fixed image.

    Returns
    -------
    Grid
        A grid over the same box, with at most 96 voxels along an axis.
    """
    old = np.array(frame.grid.shape)
    new = np.minimum(old, _BEND)
    ratio = old / new
    matrix = np.diag([*ratio, 1.0])
    matrix[:3, 3] = 0.5 * (ratio - 1)  # both grids have the same outer faces
    i, j, k = (int(n) for n in new)
    return Grid((i, j, k), frame.grid.affine @ matrix)


def bend_texture(frame: Frame, warper: Warper) -> bytes:
    """Write the displacement beyond the affine part for the shader, which draws the bent grid.

    Parameters
    ----------
    frame : Frame
        The frame of the fixed image.
    warper : Warper
        The transform.

    Returns
    -------
    bytes
        float16, mm along the axes of the frame; the component runs fastest, then the first axis.
    """
    grid = bend_grid(frame)
    whole = warper.transform
    beyond = whole if warper.affine is None else chain(warper.affine.inverse, whole)
    along = DisplacementField.from_map(beyond, grid).displacement_vox() * grid.spacing
    return bytes(np.moveaxis(along, -1, 0).astype(np.float16).tobytes("F"))
