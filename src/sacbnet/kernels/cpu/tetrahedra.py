"""Folds of a lattice in C++: small tetrahedra of its cells, pushes on their corners, and det J.

`sacbnet.spatial.jacobian` and `sacbnet.spatial.unfold` define the results and choose these forms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import native


def takes(u: Tensor) -> bool:
    """Whether the functions of this module can take a displacement.

    Parameters
    ----------
    u : Tensor, shape (3, i, j, k)
        The displacement.

    Returns
    -------
    bool
        True if it is float32, `native.usable`, and each axis has at least two voxels.
    """
    return u.dtype == torch.float32 and min(u.shape[1:]) >= 2 and native.usable(u)


def folded_cells(u: Tensor, margin: float) -> Tensor:
    """Cells with a tetrahedron whose relative volume is at most a margin.

    Parameters
    ----------
    u : Tensor of float32, shape (3, i, j, k)
        The displacement in voxels.
    margin : float
        Largest relative volume that counts as folded.

    Returns
    -------
    Tensor of bool, shape (i - 1, j - 1, k - 1)
        True for folded cells.
    """
    i, j, k = u.shape[1:]
    bad = torch.empty(i - 1, j - 1, k - 1, dtype=torch.bool)
    native.call(
        "folded_cells", u.contiguous(), bad, i, j, k, float(margin), torch.get_num_threads()
    )
    return bad


def jacobian(u: Tensor) -> Tensor:
    """Determinant of the Jacobian of p + u(p), by central differences.

    Parameters
    ----------
    u : Tensor of float32, shape (3, i, j, k)
        The displacement in voxels.

    Returns
    -------
    Tensor of float32, shape (i, j, k)
        The determinant.
    """
    out = torch.empty(u.shape[1:])
    native.call("jacobian", u.contiguous(), out, *u.shape[1:], torch.get_num_threads())
    return out


def push_apart(
    u: Tensor,
    cells: Tensor,
    push: Tensor,
    times: Tensor,
    touched: Tensor,
    margin: float,
    goal: float,
) -> Tensor:
    """Pushes on the corners of small tetrahedra.

    `sacbnet.spatial.unfold.push_apart` defines the result. All tensors are contiguous.

    Parameters
    ----------
    u : Tensor of float32, shape (3, i, j, k)
        The displacement in voxels.
    cells : Tensor of int64, shape (n,)
        Voxel numbers of the first corners of the cells.
    push : Tensor of float32, shape (3, i, j, k)
        Zeros; the pushes are added to it.
    times : Tensor of float32, shape (i, j, k)
        Zeros; the number of pushes at each voxel is added to it.
    touched : Tensor of int64, shape (i * j * k,)
        Memory for the result.
    margin : float
        Tetrahedra with at most this relative volume are pushed.
    goal : float
        Relative volume that the pushes aim at.

    Returns
    -------
    Tensor of int64
        Numbers of the voxels that were pushed.
    """
    found = native.call(
        "push_apart",
        u,
        cells,
        len(cells),
        push,
        times,
        touched,
        *u.shape[1:],
        float(margin),
        float(goal),
    )
    return touched[:found]
