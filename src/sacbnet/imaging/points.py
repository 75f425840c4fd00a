"""Landmarks as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import InputError


@dataclass(frozen=True, eq=False)
class Points:
    """Named points in the world.

    Parameters
    ----------
    xyz : array_like, shape (n, 3)
        Coordinates in mm (RAS), stored as float64; n is at least 1.
    labels : tuple of str, default ()
        The names; "1", "2", ... if none are given.
    columns : mapping of str to tuple of str, default {}
        Further texts: one for each point, by the name of the column. Every file format has places
        for "comment" and "id"; a CSV keeps all columns.

    Raises
    ------
    InputError
        If the coordinates have another shape or are not finite, or if the names or a column have
        another length.

    Examples
    --------
    >>> Points([[10, 20, 30], [11, 21, 31]]).labels
    ('1', '2')
    """

    xyz: NDArray[np.float64]
    labels: tuple[str, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        xyz = np.array(self.xyz, dtype=np.float64)
        if xyz.ndim != 2 or xyz.shape[1] != 3 or not len(xyz):
            raise InputError(
                f"the points have shape {xyz.shape}; (n, 3) with n of at least 1 was expected"
            )
        if not np.isfinite(xyz).all():
            raise InputError("the points hold coordinates that are NaN or infinite")
        xyz.setflags(write=False)
        labels = tuple(self.labels) or tuple(str(n + 1) for n in range(len(xyz)))
        columns = {name: tuple(values) for name, values in self.columns.items()}
        for name, values in {"label": labels, **columns}.items():
            if len(values) != len(xyz):
                raise InputError(
                    f"the column {name!r} of the points has {len(values)} entries for {len(xyz)}"
                    " points"
                )
        object.__setattr__(self, "xyz", xyz)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "columns", columns)
