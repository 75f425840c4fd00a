"""How pairs of images are made at random from label maps (`data.synthesis` makes them)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from .build import conform
from .validation import OptionError, at_least, between


@dataclass(frozen=True)
class SynthesisOptions:
    """How two label maps become a pair of images.

    Each quantity is drawn uniformly up to the number given, unless its text says otherwise. All
    intensities are in [0, 1].

    Parameters
    ----------
    factor : int, default 1
        A voxel of the images is as long as this many voxels of the maps, along each axis.
    noise_maps : int, default 0
        Number of maps of random shapes that are added to the set when it is packed.
    noise_share : float, default 0
        Share of the pairs that are made of one of these maps, deformed twice.
    degrees : float, default 10
        Rotation of the affine that is common to both images.
    scale : float, default 0.1
        Relative change of scale of this affine.
    shift_mm : float, default 8
        Shift of this affine, in mm.
    relative : float, default 0.5
        The moving map gets a second affine of its own, from this part of the same ranges.
    warp_mm : float, default 6
        Largest standard deviation of the coefficients of the smooth displacements that each map
        gets, in mm. It is smaller where the displacement would fold.
    warp_knots_mm : tuple of float, default (16, 32, 64)
        Distances between knots, in mm: each map gets one smooth displacement for each distance.
    box : tuple of 2 float, default (1, 1)
        Smallest and largest side of the images, as parts of the side of the maps. It is drawn for
        each axis, and so is the place of the box. A network that sees boxes of one size alone
        learns where in the box the anatomy lies, and makes errors in boxes of another size.
    classes : tuple of tuples of int, default ()
        Groups of labels that look alike, such as the left and the right of a structure.
    removable : tuple of tuples of int, default ()
        Groups of labels that may be cut away (set to 0) together, mostly from both images.
    removed : float, default 0.5
        Probability with which each of these groups is cut away.
    cropped : float, default 0.2
        Probability that an image ends at a plane that cuts it.
    same_contrast : float, default 0.5
        Probability that both images have the same table of intensities.
    texture : float, default 0.08
        Standard deviation of intensity within a class.
    bias : float, default 0.3
        Standard deviation of the logarithm of a smooth field that multiplies the intensities.
    gamma : float, default 0.3
        Standard deviation of the logarithm of the exponent of intensities.
    blur : float, default 1
        Standard deviation of a Gaussian filter, in voxels.
    thick_share : float, default 0.25
        Probability of a coarser resolution along one axis.
    thick : float, default 3
        Largest factor of this coarser resolution, at least 1.
    noise : float, default 0.05
        Standard deviation of noise.

    Raises
    ------
    OptionError
        For a value that is not valid.
    """

    factor: int = 1
    noise_maps: int = 0
    noise_share: float = 0.0
    degrees: float = 10.0
    scale: float = 0.1
    shift_mm: float = 8.0
    relative: float = 0.5
    warp_mm: float = 6.0
    warp_knots_mm: tuple[float, ...] = (16.0, 32.0, 64.0)
    box: tuple[float, float] = (1.0, 1.0)
    classes: tuple[tuple[int, ...], ...] = ()
    removable: tuple[tuple[int, ...], ...] = ()
    removed: float = 0.5
    cropped: float = 0.2
    same_contrast: float = 0.5
    texture: float = 0.08
    bias: float = 0.3
    gamma: float = 0.3
    blur: float = 1.0
    thick_share: float = 0.25
    thick: float = 3.0
    noise: float = 0.05

    def __post_init__(self) -> None:
        conform(self)
        at_least(self, factor=1, thick=1, noise_maps=0, degrees=0, scale=0, shift_mm=0, relative=0)
        at_least(self, warp_mm=0, texture=0, bias=0, gamma=0, blur=0, noise=0)
        share = (0, 1)
        between(self, noise_share=share, same_contrast=share, removed=share, cropped=share)
        between(self, thick_share=share)
        if len(self.box) != 2 or not 0.1 <= self.box[0] <= self.box[1] <= 10:
            raise OptionError(
                "box", list(self.box), "the smallest and the largest side, 0.1 to 10,"
            )
        if any(not 0 < knots < inf for knots in self.warp_knots_mm):
            raise OptionError(
                "warp_knots_mm", list(self.warp_knots_mm), "a list of positive lengths"
            )
