"""The numbers of labels by name: what evaluation and benchmarks score for each label of a pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sacbnet.spatial.resample import Interpolation

from .overlap import dice_of_present
from .surface import hausdorff95

Labels = NDArray[np.integer]
Spacing = tuple[float, ...]


@dataclass(frozen=True)
class LabelMetric:
    """A number for each label of two label maps on one grid.

    Parameters
    ----------
    name : str
        Its column in tables.
    warped : {"nearest", "onehot"}
        How the moving labels are warped before.
    function : callable
        Moved map, fixed map (i, j, k), labels, spacing in mm -> {label: number}. A number that a
        label does not have is NaN; means leave it out.
    """

    name: str
    warped: Interpolation
    function: Callable[[Labels, Labels, tuple[int, ...], Spacing], dict[int, float]]


def _dice(
    moved: Labels, fixed: Labels, labels: tuple[int, ...], spacing_mm: Spacing
) -> dict[int, float]:
    return dice_of_present(moved, fixed, labels)


LABEL_METRICS: dict[str, LabelMetric] = {
    metric.name: metric
    for metric in (
        LabelMetric("dice_nearest", "nearest", _dice),
        LabelMetric("dice_onehot", "onehot", _dice),
        LabelMetric("hd95_mm", "nearest", hausdorff95),
    )
}
