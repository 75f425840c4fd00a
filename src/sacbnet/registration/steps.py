"""What is measured at the three steps of a registration: by the headers, after the affine, last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Likeness:
    """How alike two images are, on the working grid, inside the fixed mask.

    Parameters
    ----------
    local_correlation : float
        Mean squared local correlation in a 9³ box, 0 to 1.
    mutual_information : float
        Normalised mutual information, 1 to 2.
    """

    local_correlation: float
    mutual_information: float


@dataclass(frozen=True)
class Overlap:
    """Dice over the labels that either map has before any warp.

    Parameters
    ----------
    nearest, onehot : float
        Mean over the labels; labels warped by nearest neighbour, and each linearly.
    nearest_per_label, onehot_per_label : dict[str, float]
        Dice by label.
    """

    nearest: float
    onehot: float
    nearest_per_label: dict[str, float]
    onehot_per_label: dict[str, float]


@dataclass(frozen=True)
class Steps(Generic[T]):
    """One number at three steps of a registration.

    Parameters
    ----------
    start : T
        By the headers alone.
    affine : T
        After the affine alignment.
    final : T
        At the end.
    """

    start: T
    affine: T
    final: T
