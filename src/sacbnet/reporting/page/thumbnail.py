"""A small picture of a registered pair: three planes through the middle of the fixed body."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from sacbnet.imaging.image import Image
from sacbnet.registration.result import Registration
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import PointMap

from . import pictures as p
from .frame import PLANES, picture
from .places import body_of, shown_ends

_HEIGHT = 150  # pixels of a plane, as a rule
_GAP = 3  # pixels between two planes
_QUALITY = 80  # of JPEG
EDGES = "The fixed image, with edges of the moved image in orange."
OUTLINES = "The fixed image, with outlines of its labels in blue and of the moved labels in orange."


def thumbnail(
    *,
    fixed: Image,
    moving: Image,
    transform: PointMap,
    fixed_labels: Image | None = None,
    moving_labels: Image | None = None,
    both: bool = False,
    height: int = _HEIGHT,
) -> bytes:
    """Draw a pair in small: axial, coronal and sagittal, side by side.

    Over the fixed image run the outlines of both label maps, where there are labels of both images
    (`OUTLINES`), else the edges of the moved image (`EDGES`). Only the voxels of three planes are
    resampled.

    Parameters
    ----------
    fixed, moving : Image
        The images.
    transform : callable
        World coordinates of the fixed image -> world coordinates of the moving image.
    fixed_labels, moving_labels : Image or None, default None
        Their labels.
    both : bool, default False
        Whether the moved image stands below the fixed image.
    height : int, default 150
        Pixels of each row; fewer where the picture would become wider than 6 rows are high.

    Returns
    -------
    bytes
        A JPEG.
    """
    body = body_of(fixed)
    frame, at, moving_ends = body.part, body.middle, shown_ends(moving)
    sizes = [frame.size_mm(plane) for plane in PLANES]
    scale = height / max(h for _, h in sizes)
    scale *= min(1.0, 6 * height / (scale * sum(w for w, _ in sizes)))
    rows: list[list[p.Bytes]] = [[], []]
    for plane, (width, tall) in zip(PLANES, sizes, strict=True):
        shape = max(8, round(tall * scale)), max(8, round(width * scale))
        here = frame.slice(plane, at)

        def carried(image: Image, labels: bool, here: Any = here, plane: Any = plane) -> Any:
            how, fill = ("nearest", 0.0) if labels else ("linear", float(moving_ends[0]))
            values = resample(image.data, image.grid, here, transform, how, fill)  # type: ignore[arg-type]
            return picture(plane, values)

        a = p.stretched(p.windowed(frame.shown(plane, at, fixed.data), *body.ends), shape)
        b = p.stretched(p.windowed(carried(moving, labels=False), *moving_ends), shape)
        first, second = _colours(a), _colours(b)
        if fixed_labels is not None and moving_labels is not None:
            lines = [
                p.outlines(p.repeated(x, shape))
                for x in (
                    frame.shown(plane, at, fixed_labels.data),
                    carried(moving_labels, labels=True),
                )
            ]
            first[lines[0]], first[lines[1]] = p.FIRST, p.SECOND
            first[lines[0] & lines[1]] = p.BOTH
        else:
            first[p.edges(b)] = p.SECOND
        rows[0].append(first)
        rows[1].append(second)
    return _jpeg([_side_by_side(row) for row in (rows if both else rows[:1])])


def thumbnail_of(
    result: Registration, *, both: bool = False, height: int = _HEIGHT
) -> bytes | None:
    """Draw a registration in small.

    Parameters
    ----------
    result : Registration
        The registration.
    both, height
        As of `thumbnail`.

    Returns
    -------
    bytes or None
        A JPEG; None where the result does not hold its images.
    """
    inputs = result.inputs
    if inputs is None:
        return None
    return thumbnail(
        fixed=inputs.fixed,
        moving=inputs.moving,
        transform=result.transform,
        fixed_labels=inputs.fixed_labels,
        moving_labels=inputs.moving_labels,
        both=both,
        height=height,
    )


def data_uri(jpeg: bytes) -> str:
    """Put a JPEG into an address.

    Parameters
    ----------
    jpeg : bytes
        The picture.

    Returns
    -------
    str
        A data URI.
    """
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _colours(grey: p.Grey) -> p.Bytes:
    bytes_ = np.round(255 * grey).astype(np.uint8)
    return np.repeat(bytes_[..., None], 3, axis=-1)


def _side_by_side(planes: list[p.Bytes]) -> NDArray[np.uint8]:
    """Planes next to each other, each in the middle of the height, on black."""
    height = max(len(x) for x in planes)
    width = sum(x.shape[1] for x in planes) + _GAP * (len(planes) - 1)
    out = np.zeros((height, width, 3), np.uint8)
    left = 0
    for x in planes:
        top = (height - len(x)) // 2
        out[top : top + len(x), left : left + x.shape[1]] = x
        left += x.shape[1] + _GAP
    return out


def _jpeg(rows: list[NDArray[np.uint8]]) -> bytes:
    gap = np.zeros((_GAP, rows[0].shape[1], 3), np.uint8)
    parts = [rows[0]] if len(rows) == 1 else [rows[0], gap, rows[1]]
    file = io.BytesIO()
    image = Pillow.fromarray(np.concatenate(parts))
    image.save(file, "jpeg", quality=_QUALITY, subsampling=0, optimize=True)  # colours stay sharp
    return file.getvalue()
