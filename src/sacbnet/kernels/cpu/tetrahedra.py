"""Volumes on a lattice in C++: its cells' tetrahedra, which are too small, how their corners are pushed; det J.

Definitions: `sacbnet.spatial.jacobian` and `sacbnet.spatial.unfold`, which dispatch here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import native


def takes(u: Tensor) -> bool:
    """Whether the functions below can take a displacement (3, i, j, k)."""
    return u.dtype == torch.float32 and min(u.shape[1:]) >= 2 and native.usable(u)


def folded_cells(u: Tensor, margin: float) -> Tensor:
    """(3, i, j, k) voxels -> (i-1, j-1, k-1) bool."""
    i, j, k = u.shape[1:]
    bad = torch.empty(i - 1, j - 1, k - 1, dtype=torch.bool)
    native.call(
        "folded_cells", u.contiguous(), bad, i, j, k, float(margin), torch.get_num_threads()
    )
    return bad


def jacobian(u: Tensor) -> Tensor:
    """det J of p + u(p) by central differences: (3, i, j, k) voxels -> (i, j, k)."""
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
    """As `sacbnet.spatial.unfold` says; all contiguous, touched an int64 for each voxel. Returns those touched."""
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
