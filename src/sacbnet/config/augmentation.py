"""How a pair of images may be changed at random while a network trains (`data.augment` does it)."""

from __future__ import annotations

from dataclasses import dataclass

from .build import conform
from .validation import OptionError, at_least


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a pair, and how strong they are. The defaults change nothing.

    The geometric changes are common to both images. The intensities of each image change on their
    own; where an image is exactly 0 (cut away) it stays 0.

    Parameters
    ----------
    flip : tuple of int, default ()
        Axes (0, 1, 2) that are mirrored with probability 1/2. Labels keep their values.
    affine_degrees : float, default 0
        Largest rotation about each axis, in degrees, in both directions.
    affine_scale : float, default 0
        Largest relative change of scale along each axis: 0.1 means a factor from 1 / 1.1 to 1.1.
    affine_mm : float, default 0
        Largest shift along each axis, in mm, in both directions.
    relative : float, default 0.3
        The moving image gets a second affine of its own. It is drawn from this part of the ranges
        above.
    gamma : float, default 0
        Largest change of the exponent of intensities: from 1 / (1 + gamma) to 1 + gamma.
    bias : float, default 0
        Standard deviation of the logarithm of a smooth field that multiplies the intensities.
    noise : float, default 0
        Largest standard deviation of added noise, for intensities in [0, 1].

    Raises
    ------
    OptionError
        For a value that is not valid.
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
        conform(self)
        if not set(self.flip) <= {0, 1, 2}:
            raise OptionError("flip", list(self.flip), "a list of the axes 0, 1 and 2")
        at_least(self, affine_degrees=0, affine_scale=0, affine_mm=0, relative=0)
        at_least(self, gamma=0, bias=0, noise=0)

    @property
    def moves(self) -> bool:
        """Whether the affine may differ from the identity."""
        return any((self.affine_degrees, self.affine_scale, self.affine_mm))
