"""Numbers that have one definition (docs/metrics.md): overlap, surfaces, landmarks, folding, similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import GridError
from sacbnet.imaging.labels import counts
from sacbnet.metrics.folding import Folding, folding
from sacbnet.metrics.landmarks import target_registration_error
from sacbnet.metrics.similarity import local_correlation, mutual_information

from .surface import hausdorff95

__all__ = [
    "Dice",
    "Folding",
    "dice",
    "folding",
    "hausdorff95",
    "local_correlation",
    "mutual_information",
    "present_labels",
    "target_registration_error",
]


@dataclass(frozen=True)
class Dice:
    """per_label: label -> Dice, for labels present in at least one. absent: asked-for labels present in neither."""

    per_label: dict[int, float]
    absent: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """Mean over the labels present in at least one of the two; NaN without any."""
        return float(np.mean(list(self.per_label.values()))) if self.per_label else float("nan")


def dice(
    moved: NDArray[np.integer], fixed: NDArray[np.integer], labels: tuple[int, ...] | None = None
) -> Dice:
    """2|A∩B| / (|A|+|B|) per label of two label maps of one shape; background 0 is left out.

    labels: which to score; None scores every label found in either. Where methods are compared, or a label may vanish,
    give those of `present_labels`, and count as 0 those that come out absent.
    """
    if moved.shape != fixed.shape:
        raise GridError(
            f"label maps of shapes {moved.shape} and {fixed.shape} were given; one shape was expected"
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
    """The labels over which a pair is scored, by whatever method: those asked for (without any, all above 0) that its
    moving map, as it is before any method has moved it, or its fixed map has. The shapes may differ.

    A label that a method makes vanish is still one of them, with a Dice of 0: otherwise it would pay to collapse what
    lies in one map only.
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
    """Dice of each of a pair's `present_labels`: 0 for one that neither map has any more, once the moving one moved."""
    return dict.fromkeys(present, 0.0) | dice(moved, fixed, present).per_label
