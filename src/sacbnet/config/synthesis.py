"""What is drawn when pairs are made from label maps (`synthesise` draws it). Imports no torch: recipes hold it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from sacbnet.errors import InputError

_SHARES = ("noise_share", "same_contrast", "removed", "cropped", "thick_share")


@dataclass(frozen=True)
class SynthesisOptions:
    """How two label maps become a pair of images; all that is drawn is uniform up to the number given, unless said.

    factor: a voxel of the images is so many voxels of the maps along each axis. noise_maps: so many maps of random
    shapes are added to the set when it is packed. noise_share: of the pairs, that are made of one of these, deformed
    twice.

    Geometry: degrees, scale, shift_mm: an affine common to both images; relative: the moving map gets one of its own
    besides, of this part of the same ranges. warp_mm: largest SD of the coefficients of the smooth displacements that
    each map gets, one for each of the distances warp_knots_mm between knots; less where it would fold. box: least and
    largest side of the images, of that of the maps, drawn for each axis, and where it lies beside the maps': a network
    that sees one box only learns where in it the anatomy lies, and errs in any other.

    Contents: classes: labels that look alike, such as the left and the right of a structure. removable: groups of
    labels that are cut away (0) together, each with the probability removed, mostly from both images. cropped:
    probability that an image ends at a plane that cuts it.

    Intensities: same_contrast: probability that both images have one table of intensities. texture: of the SD within
    a class. bias: SD of the logarithm of a smooth field. gamma: SD of the logarithm of the exponent. blur: SD of a
    Gaussian, in voxels. thick_share, thick: probability, and largest factor, of a coarser resolution along one axis.
    noise: SD. All of them of intensities in [0, 1].
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
        for name in ("warp_knots_mm", "box", "classes", "removable"):
            value = getattr(self, name)
            object.__setattr__(
                self, name, tuple(tuple(v) if isinstance(v, list | tuple) else v for v in value)
            )
        for name, value in vars(self).items():
            least, most = (
                (1, inf) if name in ("factor", "thick") else (0, 1 if name in _SHARES else inf)
            )
            if isinstance(value, int | float) and not least <= value <= most:
                raise InputError(
                    f"synthesis.{name} is {value}; a number from {least} to {most} was expected"
                )
        if len(self.box) != 2 or not 0.1 <= self.box[0] <= self.box[1] <= 10:
            raise InputError(
                f"synthesis.box is {list(self.box)}; the least and the largest side were expected"
            )
        if any(not 0 < knots < inf for knots in self.warp_knots_mm):
            raise InputError(
                f"synthesis.warp_knots_mm is {list(self.warp_knots_mm)}; positive lengths were expected"
            )
