"""Local volume change of a displacement, and the places where it folds.

Displacements are (3, i, j, k) tensors in voxels of their own grid. The Jacobian determinant of p + u(p) is the same in
voxels and in the world (the two differ by a change of basis), so everything here holds for both.
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
    """det J of p + u(p) by central differences (one-sided at the faces): (3, i, j, k) -> (i, j, k)."""
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
    """Relative signed volumes of the tetrahedra into which each cell of the lattice (eight voxels) can be cut.

    A cube is cut in two ways into four corner tetrahedra and a central one. Yields ten pairs (volume (i-1, j-1, k-1),
    share of the cell): volume 1 where undeformed, <= 0 where turned over. The map that is linear on the tetrahedra is
    one-to-one if and only if all are positive: the "digital diffeomorphism" criterion of Liu et al., "On Finite
    Difference Jacobian Computation in Deformable Image Registration", IJCV 2024 (arXiv 2212.06060).
    """
    shape = tuple(displacement_vox.shape[1:])
    phi = identity(shape, displacement_vox.device, displacement_vox.dtype)[0] + displacement_vox

    def corner(a: int, b: int, c: int) -> Tensor:
        return phi[:, a : shape[0] - 1 + a, b : shape[1] - 1 + b, c : shape[2] - 1 + c]

    for a, b, c in product((0, 1), repeat=3):
        v = corner(a, b, c)
        edges = [(corner(1 - a, b, c) - v), (corner(a, 1 - b, c) - v), (corner(a, b, 1 - c) - v)]
        yield _det(*edges) * ((1 - 2 * a) * (1 - 2 * b) * (1 - 2 * c)), 1 / 6
    for flip in (
        0,
        1,
    ):  # the central tetrahedron joins the corners of even, or of odd, parity; undeformed det is 2
        v = corner(flip, 0, 0)
        edges = [corner(flip, 1, 1) - v, corner(1 - flip, 0, 1) - v, corner(1 - flip, 1, 0) - v]
        yield _det(*edges) * ((1 - 2 * flip) * 0.5), 1 / 3


def _corners() -> list[tuple[list[Corner], float]]:
    """The tetrahedra of a cell: four corners each, so ordered that the determinant of the edges from the first is
    positive where nothing is displaced, and 1 over it."""
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
    """(i-1, j-1, k-1) bool: cells in which some tetrahedron's relative volume is <= margin. No axis of one voxel."""
    if compiled.takes(displacement_vox):
        return compiled.folded_cells(displacement_vox, margin)
    size = [n - 1 for n in displacement_vox.shape[1:]]
    out = torch.zeros(size, dtype=torch.bool, device=displacement_vox.device)
    for low, _high, slab, _ in _slabs(displacement_vox, halo=1, after_only=True):
        for volume, _share in tetrahedra(slab):
            out[low : low + len(volume)] |= ~(volume > margin)
    return out


def folds(displacement_vox: Tensor, margin: float = 0.0) -> Tensor:
    """(i, j, k) bool: voxels at a corner of a cell in which some tetrahedron's relative volume is <= margin."""
    out = torch.zeros(displacement_vox.shape[1:], dtype=torch.bool, device=displacement_vox.device)
    if min(out.shape) < 2:
        return out
    bad = folded_cells(displacement_vox, margin)
    n = bad.shape
    for a, b, c in product((0, 1), repeat=3):
        out[a : a + n[0], b : b + n[1], c : c + n[2]] |= bad
    return out


def non_diffeomorphic_volume(displacement_vox: Tensor) -> float:
    """Volume of the turned-over tetrahedra, averaged over the two ways of cutting, in % of the lattice's volume."""
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
    """Slabs along i with a halo, so that no nine-channel tensor of the whole volume is made."""
    n = u.shape[1]
    for low in range(0, n, rows):
        high = min(low + rows, n)
        first = low if after_only else max(low - halo, 0)
        last = min(high + halo, n)
        if after_only and last - first < 2:
            continue
        yield low, high, u[:, first:last], slice(low - first, low - first + high - low)
