"""What may happen to a pair while training (`augment` does it). Imports no torch: recipes are made of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf

from sacbnet.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a pair, and how strongly; the defaults change nothing.

    Geometry, common to both images: flip: axes (0, 1, 2) that are mirrored every other time, labels keep their values;
    affine_degrees: rotation about each axis, ±; affine_scale: along each axis, by at most this part of 1 (0.1: from
    1 / 1.1 to 1.1); affine_mm: shift along each axis, ±. relative: the moving image gets an affine of its own besides,
    drawn from this part of the same ranges.
    Intensities, for each image by itself: gamma: exponent, from 1 / (1 + gamma) to 1 + gamma; bias: standard deviation
    of the logarithm of a smooth field that multiplies them; noise: greatest standard deviation, of intensities in
    [0, 1]; where an image is exactly 0 (cut away) it stays so.
    """

    flip: tuple[int, ...] = ()
    affine_degrees: float = 0.0
    affine_scale: float = 0.0
    affine_mm: float = 0.0
    relative: float = 0.3
    gamma: float = 0.0
    bias: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "flip", tuple(self.flip))
        if any(axis not in (0, 1, 2) for axis in self.flip):
            raise InputError(f"the axes to flip are {self.flip}; of 0, 1 and 2 some were expected")
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if not 0 <= value < inf:
                raise InputError(
                    f"the augmentation {field.name} is {value}; a number of at least 0 was expected"
                )

    @property
    def moves(self) -> bool:
        return any((self.affine_degrees, self.affine_scale, self.affine_mm))
