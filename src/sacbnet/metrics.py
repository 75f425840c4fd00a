"""Numbers that have one definition (docs/metrics.md): overlap, surfaces, landmarks, folding, similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .errors import GridError, InputError
from .labelmaps import counts
from .losses import ncc_loss
from .spatial.jacobian import jacobian_determinant, non_diffeomorphic_volume
from .spatial.transforms import DisplacementField, PointMap
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


def dice(moved: NDArray[np.integer], fixed: NDArray[np.integer], labels: tuple[int, ...] | None = None) -> Dice:
    """2|A∩B| / (|A|+|B|) per label of two label maps of one shape; background 0 is left out.

    labels: which to score; None scores every label found in either. Where methods are compared, or a label may vanish,
    give those of `present_labels`, and count as 0 those that come out absent.
    """
    if moved.shape != fixed.shape:
        raise GridError(f"label maps of shapes {moved.shape} and {fixed.shape} were given; one shape was expected")
    in_moved, in_fixed, both = counts(moved), counts(fixed), counts(fixed[moved == fixed])
    asked = labels if labels is not None else tuple(sorted((in_moved.keys() | in_fixed.keys()) - {0}))
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
    return tuple(int(n) for n in asked if n in found) if asked else tuple(sorted(n for n in found if n > 0))


def dice_of_present(
    moved: NDArray[np.integer], fixed: NDArray[np.integer], present: tuple[int, ...]
) -> dict[int, float]:
    """Dice of each of a pair's `present_labels`: 0 for one that neither map has any more, once the moving one moved."""
    return dict.fromkeys(present, 0.0) | dice(moved, fixed, present).per_label


def target_registration_error(
    transform: PointMap, fixed_points: NDArray[np.floating], moving_points: NDArray[np.floating]
) -> NDArray[np.float64]:
    """|transform(p_fixed) - p_moving| in mm, for each pair of landmarks: world points (n, 3), mm RAS, both -> (n,).

    transform: world of the fixed image -> world of the moving image, where the distance is taken. Raises InputError
    for points that do not come in pairs.
    """
    fixed_points, moving_points = np.asarray(fixed_points, np.float64), np.asarray(moving_points, np.float64)
    if fixed_points.shape != moving_points.shape or fixed_points.ndim != 2 or fixed_points.shape[1] != 3:
        raise InputError(
            f"points of shapes {fixed_points.shape} and {moving_points.shape} were given; two of one shape (n, 3) were"
            " expected: row n of both is the same landmark"
        )
    return np.linalg.norm(transform(fixed_points) - moving_points, axis=1)


@dataclass(frozen=True)
class Folding:
    """folded_percent: voxels with det J <= 0 by central differences. non_diffeomorphic_percent: volume of turned-over
    tetrahedra (Liu et al., IJCV 2024), the stricter one. sd_log_jacobian: SD of log det J over unfolded voxels."""

    folded_voxels: int
    folded_percent: float
    non_diffeomorphic_percent: float
    sd_log_jacobian: float
    jacobian_min: float
    jacobian_max: float


def folding(transform: DisplacementField, mask: NDArray[np.bool_] | None = None) -> Folding:
    """Folding of a transform on its grid. mask: where SD and extremes are taken; folding is counted all over."""
    u = torch.from_numpy(transform.displacement_vox()).permute(3, 0, 1, 2)
    det = jacobian_determinant(u).numpy()
    inside = det if mask is None else det[mask]
    folded = int((det <= 0).sum())
    growing = inside[inside > 0].astype(np.float64)
    return Folding(
        folded_voxels=folded,
        folded_percent=100 * folded / det.size,
        non_diffeomorphic_percent=non_diffeomorphic_volume(u),
        sd_log_jacobian=float(np.log(growing).std()) if growing.size else float("nan"),
        jacobian_min=float(inside.min()) if inside.size else float("nan"),
        jacobian_max=float(inside.max()) if inside.size else float("nan"),
    )


def local_correlation(moved: torch.Tensor, fixed: torch.Tensor, mask: torch.Tensor | None = None) -> float:
    """Mean squared local correlation in a 9³ box, in [0, 1]; (1, 1, i, j, k) both."""
    with torch.no_grad():
        return -float(ncc_loss(moved, fixed, 9, mask))


def mutual_information(moved: NDArray[np.floating], fixed: NDArray[np.floating], bins: int = 32) -> float:
    """Normalised mutual information (H(a) + H(b)) / H(a, b), in [1, 2]; 1 is independence (Studholme et al., 1999)."""
    counts = np.bincount(_binned(moved, bins) * bins + _binned(fixed, bins), minlength=bins * bins)
    joint = counts.reshape(bins, bins) / moved.size

    def entropy(p: NDArray[np.floating]) -> float:
        p = p[p > 0]
        return float(-(p * np.log(p)).sum())

    h = entropy(joint)
    return (entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1))) / h if h > 0 else 1.0


def _binned(x: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    low, high = float(x.min()), float(x.max())
    scale = bins / (high - low) if high > low else 0.0
    return np.minimum(((x.ravel() - low) * scale).astype(np.int64), bins - 1)
