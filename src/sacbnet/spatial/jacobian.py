"""Local volume change of a displacement, and the places where it folds.

Displacements are tensors of shape (3, i, j, k) in voxels of their own grid. The determinant of the
Jacobian of p + u(p) is the same in voxels and in the world, because the two differ by a change of
basis only. So all results hold for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from sacbnet.kernels.cpu import tetrahedra as compiled

from .warp import identity

Corner = tuple[int, int, int]


def jacobian_determinant(displacement_vox: Tensor) -> Tensor:
    """Determinant of the Jacobian of p + u(p), by central differences, one-sided at the faces.

    Parameters
    ----------
    displacement_vox : Tensor, shape (3, i, j, k)
        The displacement u in voxels.

    Returns
    -------
    Tensor, shape (i, j, k)
        The determinant: 1 without deformation, not positive where the transform folds.
    """
    if compiled.takes(displacement_vox):
        return compiled.jacobian(displacement_vox)
    out = torch.empty(
        displacement_vox.shape[1:], dtype=displacement_vox.dtype, device=displacement_vox.device
    )
    for low, high, slab, inner in _slabs(displacement_vox, halo=1):
        columns = []
        for axis in range(3):
            d = (
                torch.gradient(slab, dim=axis + 1)[0]
                if slab.shape[axis + 1] > 1
                else torch.zeros_like(slab)
            )
            d[axis] += 1
            columns.append(d)
        out[low:high] = _det(*columns)[inner]
    return out


def tetrahedra(displacement_vox: Tensor) -> Iterator[tuple[Tensor, float]]:
    """Relative signed volumes of the tetrahedra of all cells.

    A cell of the lattice is a cube of eight voxels. There are two ways to cut it into four corner
    tetrahedra and one central tetrahedron. The map that is linear on the tetrahedra is one-to-one
    if and only if all ten volumes are positive: the "digital diffeomorphism" criterion.

    Parameters
    ----------
    displacement_vox : Tensor, shape (3, i, j, k)
        The displacement in voxels.

    Yields
    ------
    volume : Tensor, shape (i - 1, j - 1, k - 1)
        Volume of one tetrahedron of each cell: 1 without deformation, not positive if it is folded.
    share : float
        Share of the tetrahedron in the volume of the cell.

    References
    ----------
    Y. Liu et al., "On Finite Difference Jacobian Computation in Deformable Image Registration",
    IJCV 2024 (arXiv 2212.06060).
    """
    shape = tuple(displacement_vox.shape[1:])
    phi = identity(shape, displacement_vox.device, displacement_vox.dtype)[0] + displacement_vox

    def corner(a: int, b: int, c: int) -> Tensor:
        return phi[:, a : shape[0] - 1 + a, b : shape[1] - 1 + b, c : shape[2] - 1 + c]

    for a, b, c in product((0, 1), repeat=3):
        v = corner(a, b, c)
        edges = [(corner(1 - a, b, c) - v), (corner(a, 1 - b, c) - v), (corner(a, b, 1 - c) - v)]
        yield _det(*edges) * ((1 - 2 * a) * (1 - 2 * b) * (1 - 2 * c)), 1 / 6
    # A central tetrahedron joins the corners of even parity or those of odd parity. Its determinant
    # is 2 without deformation.
    for flip in (0, 1):
        v = corner(flip, 0, 0)
        edges = [corner(flip, 1, 1) - v, corner(1 - flip, 0, 1) - v, corner(1 - flip, 1, 0) - v]
        yield _det(*edges) * ((1 - 2 * flip) * 0.5), 1 / 3


def _corners() -> list[tuple[list[Corner], float]]:
    """The tetrahedra of a cell, each with its four corners and a scale.

    The corners are ordered so that the determinant of the edges from the first corner is positive
    without displacement. The scale is 1 over this determinant.
    """
    out: list[tuple[list[Corner], float]] = []
    for a, b, c in product((0, 1), repeat=3):
        one: list[Corner] = [(a, b, c), (1 - a, b, c), (a, 1 - b, c), (a, b, 1 - c)]
        out.append((_turned(one) if (a + b + c) % 2 else one, 1.0))
    for f in (0, 1):
        centre: list[Corner] = [(f, 0, 0), (f, 1, 1), (1 - f, 0, 1), (1 - f, 1, 0)]
        out.append((_turned(centre) if f else centre, 0.5))
    return out


def _turned(corners: list[Corner]) -> list[Corner]:
    return [*corners[:2], corners[3], corners[2]]


CORNERS = _corners()


def folded_cells(displacement_vox: Tensor, margin: float = 0.0) -> Tensor:
    """Cells with a tetrahedron whose relative volume is at most a margin.

    Parameters
    ----------
    displacement_vox : Tensor, shape (3, i, j, k)
        The displacement in voxels. Each axis has at least two voxels.
    margin : float, default 0.0
        Largest relative volume that counts as folded.

    Returns
    -------
    Tensor of bool, shape (i - 1, j - 1, k - 1)
        True for folded cells, and for cells with a volume that is NaN.
    """
    if compiled.takes(displacement_vox):
        return compiled.folded_cells(displacement_vox, margin)
    size = [n - 1 for n in displacement_vox.shape[1:]]
    out = torch.zeros(size, dtype=torch.bool, device=displacement_vox.device)
    for low, _high, slab, _ in _slabs(displacement_vox, halo=1, after_only=True):
        for volume, _share in tetrahedra(slab):
            out[low : low + len(volume)] |= ~(volume > margin)
    return out


def folds(displacement_vox: Tensor, margin: float = 0.0) -> Tensor:
    """Voxels at the corners of folded cells.

    Parameters
    ----------
    displacement_vox : Tensor, shape (3, i, j, k)
        The displacement in voxels.
    margin : float, default 0.0
        Largest relative volume of a tetrahedron that counts as folded.

    Returns
    -------
    Tensor of bool, shape (i, j, k)
        True at the corners of folded cells. All False if an axis has one voxel.
    """
    out = torch.zeros(displacement_vox.shape[1:], dtype=torch.bool, device=displacement_vox.device)
    if min(out.shape) < 2:
        return out
    bad = folded_cells(displacement_vox, margin)
    n = bad.shape
    for a, b, c in product((0, 1), repeat=3):
        out[a : a + n[0], b : b + n[1], c : c + n[2]] |= bad
    return out


def non_diffeomorphic_volume(displacement_vox: Tensor) -> float:
    """Volume of the folded tetrahedra, as the mean over the two ways to cut the cells.

    Parameters
    ----------
    displacement_vox : Tensor, shape (3, i, j, k)
        The displacement in voxels.

    Returns
    -------
    float
        The volume in % of the volume of the lattice.
    """
    if min(displacement_vox.shape[1:]) < 2:
        return 0.0
    turned, total = folded_cells(displacement_vox), 0.0
    for low, high, slab, _ in _slabs(displacement_vox, halo=1, after_only=True):
        if not bool(turned[low:high].any()):
            continue
        for volume, share in tetrahedra(slab):
            total += float((-volume).clamp_min(0).sum(dtype=torch.float64)) * share / 2
    return 100 * total / turned.numel()


def _det(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Determinant of the 3x3 matrices with columns a, b, c, each (3, ...)."""
    out = a[0] * (b[1] * c[2] - b[2] * c[1])
    out -= a[1] * (b[0] * c[2] - b[2] * c[0])
    out += a[2] * (b[0] * c[1] - b[1] * c[0])
    return out


def _slabs(
    u: Tensor, halo: int, after_only: bool = False, rows: int = 16
) -> Iterator[tuple[int, int, Tensor, slice]]:
    """Slabs along i with a halo, so that a nine-channel tensor never covers the whole volume."""
    n = u.shape[1]
    for low in range(0, n, rows):
        high = min(low + rows, n)
        first = low if after_only else max(low - halo, 0)
        last = min(high + halo, n)
        if after_only and last - first < 2:
            continue
        yield low, high, u[:, first:last], slice(low - first, low - first + high - low)
