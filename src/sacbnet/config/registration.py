"""What may be chosen about a registration, and about its refinement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite

from sacbnet.config.choices import AFFINES, DEFAULT, NONE, PRECISIONS, AffineKind, Precision, Preset
from sacbnet.errors import InputError


@dataclass(frozen=True)
class RefineOptions:
    """iterations: Adam steps at each level, at most. levels: factors by which the working grid is coarsened, in order;
    None is 4, 2, 1, and 8 before them for a volume of 2 million voxels or more (a whole brain at 1 mm). In such a
    volume level 1 gets the share at_full of the steps, a third as long: a step costs eight times as much there, and
    little is left to find (.6 against .3: .001 of Dice).

    tolerance, patience: a level ends once the least loss of its last `patience` steps is less than `tolerance` below
    that of as many before them. The loss at the start is left out: from a good one Adam's first steps lead away.
    smoothness: weight λ of the mean square gradient (voxels of the level). window: side of the correlation box, in
    voxels of the working grid.
    noise: SD of intensity, of a range of 1, at and below which a box counts as noise: it has no say in the correlation.
    stiffness: (side, times) of the box means that turn the optimised parameters into the displacement: Adam gives every
    voxel a step of the same size, and this keeps neighbours together. stiffness_large: the same in a large volume;
    after the network `brain` (3, 2) gives .006 more of Dice there (mean of four pairs of MALF and three of LPBA40; from
    zero nothing), while in small ones the inverse would lose what Dice hardly gains.
    """

    iterations: int = 60
    levels: tuple[int, ...] | None = None
    at_full: float = 0.6
    tolerance: float = 2e-3
    patience: int = 10
    learning_rate: float = 1.0
    smoothness: float = 1.0
    window: int = 9
    noise: float = 0.018
    stiffness: tuple[int, int] = (5, 2)
    stiffness_large: tuple[int, int] = (3, 2)

    def box(self, factor: int) -> int:
        """Side of the correlation box in voxels of a level: what `window` working voxels come to, at least 5."""
        side = round(self.window / factor)
        return max(side + (side + 1) % 2, min(5, self.window))


PRESETS: dict[Preset, RefineOptions] = {
    "fast": RefineOptions(levels=(8, 4, 2)),  # without a network, which else does it all
    "balanced": RefineOptions(),
    "accurate": RefineOptions(iterations=150, at_full=1.0, tolerance=5e-4),
}


@dataclass(frozen=True)
class Options:
    """What may be chosen about a registration.

    weights: a name, a safetensors file of SACB-Net or the folder of a training run (`catalogue.resolve`), "default"
    (what the catalogue marks), or "none". affine: "none" (the headers already agree), "rigid" or "affine".
    preset: how much refinement of this pair follows the network: "fast" none (without a network, one that ends at half
    the resolution), "balanced" up to 60 steps a level and few at full resolution, "accurate" up to 150 everywhere.
    refine: steps a level at most, instead of the preset's; 0 is no refinement. device: "auto", "cpu", "cuda", "cuda:1".
    spacing: mm at which the pair is worked on; None is the weights' own, or with refinement the fixed image's
    (`preprocess.spacings`). precision: in which the network's features are stored, "float32" or "bfloat16", which
    halves their memory; displacements and refinement are float32 always. save_clusters, save_uncertainty: the regions
    that each level of a SACB-Net found, and how sure its matching was, come with the result (`regions.maps`).
    """

    weights: str = DEFAULT
    affine: AffineKind = "affine"
    preset: Preset = "balanced"
    refine: int | None = None
    device: str = "auto"
    spacing: float | None = None
    precision: Precision = "float32"
    save_clusters: bool = False
    save_uncertainty: bool = False

    def __post_init__(self) -> None:
        if self.affine not in AFFINES:
            raise InputError(f"affine is {self.affine!r}; {', '.join(AFFINES)} were expected")
        if self.preset not in PRESETS:
            raise InputError(f"preset is {self.preset!r}; {', '.join(PRESETS)} were expected")
        if self.refine is not None and self.refine < 0:
            raise InputError(f"refine is {self.refine}; a number of steps, 0 or more, was expected")
        if self.precision not in PRECISIONS:
            raise InputError(
                f"precision is {self.precision!r}; {', '.join(PRECISIONS)} were expected"
            )
        if self.spacing is not None and not (isfinite(self.spacing) and self.spacing > 0):
            raise InputError(f"spacing is {self.spacing} mm; a positive number was expected")

    @property
    def refinement(self) -> RefineOptions | None:
        """None where there is none. Steps that are asked for are those of "balanced" where the preset has none."""
        if self.refine is None:
            return None if self.preset == "fast" and self.weights != NONE else PRESETS[self.preset]
        chosen = PRESETS["balanced" if self.preset == "fast" else self.preset]
        return replace(chosen, iterations=self.refine) if self.refine else None

    @property
    def steps(self) -> int:
        """Of the refinement, at most, at a level; 0 where there is none."""
        return self.refinement.iterations if self.refinement else 0
