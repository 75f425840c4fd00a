"""Options of a registration, and of its refinement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from .choices import AFFINES, DEFAULT, NONE, PRECISIONS, AffineKind, Precision, Preset
from .validation import OptionError, at_least, one_of


@dataclass(frozen=True)
class RefineOptions:
    """How a displacement is refined on the images of one pair, by Adam on a pyramid.

    Parameters
    ----------
    iterations : int, default 60
        Largest number of Adam steps at each level.
    levels : tuple of int, optional
        Factors by which the working grid is coarsened, in order. None (default) means 4, 2, 1; in
        a large volume, of 2 million voxels or more (a whole brain at 1 mm), it means 8, 4, 2, 1.
    at_full : float, default 0.6
        In a large volume, share of the steps that level 1 gets; these steps are a third as long.
    tolerance, patience : float and int, default 2e-3 and 10
        A level ends once the smallest loss of its last `patience` steps is less than `tolerance`
        below that of the `patience` steps before them. The loss at the start does not count: from a
        good start the first steps of Adam lead away.
    learning_rate : float, default 1
        Length of a step, in voxels of the level.
    smoothness : float, default 1
        Weight λ of the mean square gradient of the displacement, in voxels of the level.
    window : int, default 9
        Side of the correlation box, in voxels of the working grid.
    noise : float, default 0.018
        Standard deviation of intensity, of a range of 1, at and below which a box counts as noise:
        it then has no influence on the correlation.
    stiffness : tuple of 2 int, default (5, 2)
        Side and number of the box means that turn the optimised parameters into the displacement.
        Adam moves each voxel by a step of the same size; the box means keep neighbours together.
    stiffness_large : tuple of 2 int, default (3, 2)
        The same in a large volume.
    """

    iterations: int = 60
    levels: tuple[int, ...] | None = None
    # a step costs eight times as much at level 1 of a large volume, and little is left to find
    # there: .6 against .3 gives .001 of Dice
    at_full: float = 0.6
    tolerance: float = 2e-3
    patience: int = 10
    learning_rate: float = 1.0
    smoothness: float = 1.0
    window: int = 9
    noise: float = 0.018
    stiffness: tuple[int, int] = (5, 2)
    # after the network `brain`, (3, 2) gives .006 more of Dice in large volumes (mean of four pairs
    # of MALF and three of LPBA40; without a network nothing). In small volumes the inverse would
    # lose accuracy, and Dice hardly gains.
    stiffness_large: tuple[int, int] = (3, 2)

    def box(self, factor: int) -> int:
        """Compute the side of the correlation box at a level.

        Parameters
        ----------
        factor : int
            Factor by which the working grid is coarsened.

        Returns
        -------
        int
            Side in voxels of the level: as long as `window` working voxels, odd, at least 5.
        """
        side = round(self.window / factor)
        return max(side + (side + 1) % 2, min(5, self.window))


PRESETS: dict[Preset, RefineOptions] = {
    "fast": RefineOptions(levels=(8, 4, 2)),  # used without a network alone: refinement does it all
    "balanced": RefineOptions(),
    "accurate": RefineOptions(iterations=150, at_full=1.0, tolerance=5e-4),
}


@dataclass(frozen=True)
class Options:
    """What a user may choose about a registration.

    Parameters
    ----------
    weights : str, default "default"
        A name of the catalogue, a safetensors file or the folder of a training run
        (`catalogue.resolve`); "default" is what the catalogue marks, "none" is no network.
    affine : {"none", "rigid", "affine"}, default "affine"
        Alignment before the network; "none" where the headers already agree.
    preset : {"fast", "balanced", "accurate"}, default "balanced"
        How much refinement on this pair follows the network. "fast": none (without a network, a
        refinement that ends at half the resolution). "balanced": up to 60 steps at each level, few
        of them at full resolution. "accurate": up to 150 steps at each level.
    refine : int, optional
        Largest number of steps at each level, instead of the preset's; 0 is no refinement.
    device : str, default "auto"
        "auto", "cpu", "cuda" or "cuda:1".
    spacing : float, optional
        Voxel size of the working grid, in mm. None (default) means that of the weights, or with
        refinement that of the fixed image (`registration.prepare`).
    precision : {"float32", "bfloat16"}, default "float32"
        Precision in which the network's features are stored; "bfloat16" halves their memory.
        Displacements and refinement are float32 always.
    save_clusters : bool, default False
        The regions that each level of a SACB-Net found come with the result (`regions.maps`).
    save_uncertainty : bool, default False
        The uncertainty of the matching at each level comes with the result.

    Raises
    ------
    OptionError
        For a value that is not valid.
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
        one_of(self, affine=AFFINES, preset=tuple(PRESETS), precision=PRECISIONS)
        if self.refine is not None:
            at_least(self, refine=0)
        if self.spacing is not None and not 0 < self.spacing < inf:
            raise OptionError("spacing", self.spacing, "a positive number of mm")

    @property
    def refinement(self) -> RefineOptions | None:
        """The options of the refinement; None where there is none.

        A number of steps that is given with a preset without refinement counts as in "balanced".
        """
        if self.refine is None:
            return None if self.preset == "fast" and self.weights != NONE else PRESETS[self.preset]
        chosen = PRESETS["balanced" if self.preset == "fast" else self.preset]
        return replace(chosen, iterations=self.refine) if self.refine else None

    @property
    def steps(self) -> int:
        """Largest number of steps of the refinement at a level; 0 where there is none."""
        return self.refinement.iterations if self.refinement else 0
