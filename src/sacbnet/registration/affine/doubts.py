"""Reasons to doubt a pose, as sentences for the user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .bounds import Array, Bounds
from .information import Information
from .lattice import Lattice
from .models import Frame, Model, climb, similarity

_EQUAL = 0.97  # a score of at least this share of the best one is nearly as good
_APART = 0.15  # poses that are farther apart than this share of the body's radius differ
TURNED_DEG = 60.0  # headers are seldom wrong by less than a quarter, and heads seldom turn so far
_SMALL_OVERLAP = 0.15
# Lead of the mirror image that is no chance. Bodies are nearly their own mirror image: of 48 right
# pairs of brains two had such a lead, of 22 mirrored ones 14. A part of a body matches more by
# chance, and is compared on the medium lattice only.
_LEAD, _LEAD_CUT = 1.01, 1.15
_ITERATIONS = 33


def of_poses(poses: Sequence[tuple[float, Array]], best: Array, frame: Frame) -> Iterator[str]:
    """Compare the best pose with the other good ones, and with the headers.

    Parameters
    ----------
    poses : sequence of (float, array of shape (4, 4))
        Scores and poses, the best first.
    best : array, shape (4, 4)
        The affine that was found from the best pose.
    frame : Frame
        Position and size of the fixed object.

    Yields
    ------
    str
        A sentence.
    """
    top, first = poses[0]
    for score, other in poses[1:]:
        distance = frame.apart(first, other)
        if score >= _EQUAL * top and distance > _APART * frame.radius:
            yield (
                f"the affine alignment is ambiguous: two poses that differ by {distance:.0f} mm and"
                f" {turn_deg(other @ np.linalg.inv(first)):.0f} degrees match nearly equally well;"
                " check the result, or give masks or better headers"
            )
            break
    if turn_deg(best) > TURNED_DEG:
        yield (
            f"the images match best if the moving image is turned by {turn_deg(best):.0f} degrees"
            " against its header; check the result and the orientation in the headers"
        )


def of_views(
    information: Information, best: Array, bounds: Bounds, fixed: Lattice, moving: Lattice
) -> Iterator[str]:
    """Look at the overlap, the places and the sizes of the two images.

    Parameters
    ----------
    information : Information
        The score.
    best : array, shape (4, 4)
        The affine that was found.
    bounds : Bounds
        Limits of the affine.
    fixed, moving : Lattice
        The images.

    Yields
    ------
    str
        A sentence.
    """
    overlap = information.overlap(best)
    if overlap < _SMALL_OVERLAP * information.most:
        yield (
            f"only {100 * overlap:.0f} % of the fixed image's body lie in the moving image's field"
            " of view; check the result"
        )
    if not fixed.grid.meets(moving.grid):
        distance = np.linalg.norm(fixed.grid.centre - moving.grid.centre)
        yield (
            f"the headers put the images {distance:.0f} mm apart, where they share no place; the"
            " pose was found from the images alone: check it"
        )
    if bounds.scale != 1:
        ratio = max(bounds.scale, 1 / bounds.scale)
        yield (
            f"the bodies differ {ratio:.1f}-fold in size; the voxel size in a header may be wrong:"
            " check it"
        )


def of_mirror(
    levels: Sequence[Information],
    best: Array,
    model: Model,
    frame: Frame,
    bounds: Bounds,
    cut: bool,
) -> Iterator[str]:
    """Compare the pose with the mirror image in it.

    Parameters
    ----------
    levels : sequence of Information
        The score on the coarse, the medium and the fine lattice. The mirror image is aligned as the
        image itself was, and the two are compared on the last one.
    best : array, shape (4, 4)
        The affine that was found.
    model : {rigid, affine}
        The family of the affine.
    frame : Frame
        Position and size of the fixed object.
    bounds : Bounds
        Limits of the affine.
    cut : bool
        Whether a body is cut.

    Yields
    ------
    str
        A sentence.
    """
    coarse, medium, fine = levels
    mirrors = []
    for axis in range(3):
        mirror = np.eye(3)
        mirror[axis, axis] = -1
        mirrors.append(best @ frame.about(mirror, frame.centre))
    start = max(mirrors, key=coarse.glance)
    _, mirror = climb(coarse, start, similarity, frame, _ITERATIONS, bounds)
    last = medium
    if not cut:
        last = fine
        for information in (medium, fine):
            _, mirror = climb(information, mirror, model, frame, _ITERATIONS, bounds)
    own, mirrored = last(best), last(mirror)
    if mirrored > (_LEAD_CUT if cut else _LEAD) * own > 0:
        yield (
            "the mirror image of the moving image matches better than the image itself (mutual"
            f" information {mirrored:.4f} against {own:.4f}): left and right may be swapped in a"
            " header; check both images"
        )


def turn_deg(matrix: Array) -> float:
    """Angle of the rotation in an affine.

    Parameters
    ----------
    matrix : array, shape (4, 4)
        The affine, of positive determinant.

    Returns
    -------
    float
        The angle in degrees, 0 to 180.

    Examples
    --------
    >>> round(turn_deg(np.diag([-1.0, -2.0, 1.0, 1.0])))
    180
    """
    left, _, right = np.linalg.svd(matrix[:3, :3])
    return float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))
