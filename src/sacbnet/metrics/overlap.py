"""Overlap of label maps: Dice, and the labels over which a pair is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import GridError
from sacbnet.imaging.labels import counts


@dataclass(frozen=True)
class Dice:
    """Dice of each label of two maps.

    Parameters
    ----------
    per_label : dict
        Label -> Dice in [0, 1], for the labels that at least one of the maps has.
    absent : tuple of int, default ()
        Labels that were asked for and that neither map has.
    """

    per_label: dict[int, float]
    absent: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """Mean over the labels present in at least one of the two; NaN without any."""
        return float(np.mean(list(self.per_label.values()))) if self.per_label else float("nan")


def dice(
    moved: NDArray[np.integer], fixed: NDArray[np.integer], labels: tuple[int, ...] | None = None
) -> Dice:
    """Compute ``2|A∩B| / (|A| + |B|)`` for each label of two label maps.

    Where methods are compared, or where a label may vanish, give the labels of `present_labels`,
    and count the labels that come out as absent as 0 (`dice_of_present`).

    Parameters
    ----------
    moved, fixed : array of int, shape (i, j, k)
        The label maps, on one grid.
    labels : tuple of int, optional
        Labels to score. None means all labels of either map but the background 0.

    Returns
    -------
    Dice
        Dice of each label, and the labels that are absent.

    Raises
    ------
    GridError
        For unequal shapes.

    Examples
    --------
    >>> dice(np.array([[[1, 1, 2]]]), np.array([[[1, 2, 2]]])).per_label
    {1: 0.6666666666666666, 2: 0.6666666666666666}
    """
    if moved.shape != fixed.shape:
        raise GridError(
            f"label maps of shapes {moved.shape} and {fixed.shape} were given; one shape was"
            " expected"
        )
    in_moved, in_fixed, both = counts(moved), counts(fixed), counts(fixed[moved == fixed])
    asked = (
        labels if labels is not None else tuple(sorted((in_moved.keys() | in_fixed.keys()) - {0}))
    )
    per_label = {}
    for label in asked:
        total = in_moved.get(label, 0) + in_fixed.get(label, 0)
        if total:
            per_label[int(label)] = 2 * both.get(label, 0) / total
    return Dice(per_label, tuple(int(label) for label in asked if label not in per_label))


def present_labels(
    moving: NDArray[np.integer], fixed: NDArray[np.integer], asked: Sequence[int] = ()
) -> tuple[int, ...]:
    """List the labels over which a pair is scored, whatever method registers it.

    A label that a method makes vanish is one of these labels, with a Dice of 0. Otherwise it would
    be an advantage to collapse a structure that lies in one map only.

    Parameters
    ----------
    moving, fixed : array of int
        The label maps; the moving map as it is before any method moves it. Shapes may differ.
    asked : sequence of int, default ()
        Labels that are asked for; () means all above 0.

    Returns
    -------
    tuple of int
        The labels asked for that at least one of the maps has, in the order in which they are asked
        for, or in ascending order.
    """
    found = counts(moving).keys() | counts(fixed).keys()
    return (
        tuple(int(n) for n in asked if n in found)
        if asked
        else tuple(sorted(n for n in found if n > 0))
    )


def dice_of_present(
    moved: NDArray[np.integer], fixed: NDArray[np.integer], present: tuple[int, ...]
) -> dict[int, float]:
    """Compute Dice of each of a pair's `present_labels`, after a method has moved the moving map.

    Parameters
    ----------
    moved, fixed : array of int, shape (i, j, k)
        The label maps, on one grid.
    present : tuple of int
        The labels of `present_labels` of the pair.

    Returns
    -------
    dict
        Label -> Dice; 0 for a label that neither map has any more.

    Raises
    ------
    GridError
        For unequal shapes.
    """
    return dict.fromkeys(present, 0.0) | dice(moved, fixed, present).per_label
