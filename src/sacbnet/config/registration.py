"""What may be chosen about a registration, and about its refinement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import TypedDict

from sacbnet.losses.registry import MIND, MSE, NCC, MutualInformation, Similarity

from .choices import (
    AFFINES,
    AUTO,
    BOXES,
    DEFAULT,
    MAPS,
    METRICS,
    NONE,
    PRECISIONS,
    AffineChoice,
    BoxChoice,
    Fill,
    MapName,
    Metric,
    Precision,
    Preset,
)
from .validation import OptionError, at_least, choices, one_of

_LARGEST_FILL = 3e38  # the results are float32
# Factor of each measure of likeness against the smoothness, so that one λ serves all of them. Mean
# Dice on pairs of the hippocampus set by factor: mind 1, 3: .790, .801 of lncc's .806;
# mi .3, 1, 3: .821, .813, .795 of lncc's .834; mse 3, 6, 10, 30: .777, .782, .782, .739 of .806.
WEIGHTS: dict[Metric, float] = {"lncc": 1.0, "mind": 6.0, "mi": 0.3, "mse": 8.0}


@dataclass(frozen=True)
class RefineOptions:
    """What may be chosen about the refinement of a pair.

    Parameters
    ----------
    iterations : int, default 60
        Adam steps at each level, at most.
    levels : tuple[int, ...] or None, default None
        Factors by which the working grid is coarsened, in order. None: 4, 2, 1, and 8 before them
        for a volume of 2 million voxels or more (a whole brain at 1 mm).
    at_full : float, default 0.6
        Share of the steps that level 1 gets in such a volume, where a step costs eight times as
        much and little is left to find (.6 against .3: .001 of Dice). Its steps are a third as
        long.
    tolerance : float, default 0.002
        A level ends once the least loss of its last `patience` steps is less than this below the
        least loss of as many before them.
    patience : int, default 10
        See `tolerance`. The loss at the start is left out: from a good start Adam's first steps
        lead away.
    learning_rate : float, default 1.0
        Adam's learning rate, voxels of the level.
    smoothness : float, default 1.0
        Weight λ of the mean square gradient (voxels of the level).
    metric : {"lncc", "mind", "mi", "mse"}, default "lncc"
        Measure of likeness: squared local correlation, MIND-SSC, mutual information, or squared
        difference.
    guidance : float, default 100.0
        Weight of landmarks: of the sum of their squared distances, over the voxels of the level
        (voxels of the level).
    window : int, default 9
        Side of the correlation box, voxels of the working grid.
    noise : float, default 0.018
        Standard deviation of intensity, of a range of 1, at and below which a box counts as noise
        and has no say in the correlation.
    stiffness : tuple[int, int], default (5, 2)
        Side and number of the box means that turn the optimised parameters into the displacement:
        Adam gives every voxel a step of the same size, and the means keep neighbours together.
    stiffness_large : tuple[int, int], default (3, 2)
        The same in a large volume. After the network `brain` it gives .006 more of Dice there (mean
        of four pairs of MALF and three of LPBA40; from zero nothing), while in small volumes the
        inverse would lose what Dice hardly gains.
    """

    iterations: int = 60
    levels: tuple[int, ...] | None = None
    at_full: float = 0.6
    tolerance: float = 2e-3
    patience: int = 10
    learning_rate: float = 1.0
    smoothness: float = 1.0
    metric: Metric = "lncc"
    guidance: float = 100.0
    window: int = 9
    noise: float = 0.018
    stiffness: tuple[int, int] = (5, 2)
    stiffness_large: tuple[int, int] = (3, 2)

    def box(self, factor: int) -> int:
        """Scale the correlation box to a level.

        Parameters
        ----------
        factor : int
            Factor by which the working grid is coarsened.

        Returns
        -------
        int
            Side of the box in voxels of the level: what `window` working voxels come to, odd, and
            not smaller than 5 or than a `window` below 5.
        """
        side = round(self.window / factor)
        return max(side + (side + 1) % 2, min(5, self.window))

    def likeness(self, factor: int) -> Similarity:
        """Give the loss of the images at a level.

        Parameters
        ----------
        factor : int
            Factor by which the working grid is coarsened.

        Returns
        -------
        Similarity
            The loss, to be multiplied by its entry in `WEIGHTS`.
        """
        choices: dict[Metric, Similarity] = {
            "lncc": NCC(window=self.box(factor), noise=self.noise),
            "mind": MIND(radius=1, dilation=2 if factor == 1 else 1),
            "mi": MutualInformation(),
            "mse": MSE(),
        }
        return choices[self.metric]


PRESETS: dict[Preset, RefineOptions] = {
    "fast": RefineOptions(levels=(8, 4, 2)),  # without a network, which else does it all
    "balanced": RefineOptions(),
    "accurate": RefineOptions(iterations=150, at_full=1.0, tolerance=5e-4),
}


@dataclass(frozen=True)
class Options:
    """What may be chosen about a registration.

    Parameters
    ----------
    weights : str, default "default"
        A name, a safetensors file or the folder of a training run (`catalogue.resolve`). "default":
        those that the catalogue marks; "none": no network.
    affine : {"auto", "none", "rigid", "affine"}, default "auto"
        Alignment before the network. "auto": what the weights need, an affine one as a rule;
        "none": the headers already agree.
    preset : {"fast", "balanced", "accurate"}, default "balanced"
        How much refinement of this pair follows the network. "fast": none (without a network, one
        that ends at half the resolution); "balanced": up to 60 steps a level, and few at full
        resolution; "accurate": up to 150 steps everywhere.
    refine : int or None, default None
        Steps a level at most, instead of the preset's; 0: no refinement.
    metric : {"lncc", "mind", "mi", "mse"}, default "lncc"
        What refinement measures the likeness of the images by (`RefineOptions`).
    smoothness : float or None, default None
        Weight of the displacement's smoothness in refinement. None: that of the preset, 1.
    device : str, default "auto"
        "auto", "cpu", "cuda", "cuda:1", ...
    spacing : float or None, default None
        Working spacing, mm. None: the weights' own; with refinement near the fixed image's
        (`working_grid.spacings`).
    box : {"auto", "whole", "foreground"}, default "auto"
        Part of the fixed image to work on. "auto": the foreground; the whole box where the weights
        were trained on whole boxes, both images share one grid and no affine is asked for.
    fill : float or "auto", default "auto"
        Intensity of the moved image where nothing of the moving image arrives. "auto": the moving
        image's own background (`sacbnet.imaging.background`).
    precision : {"float32", "bfloat16"}, default "float32"
        In which the network's features are stored; bfloat16 halves their memory. Displacements and
        refinement are float32 always.
    repair : bool, default True
        Whether folds of the transform are mended before it is delivered.
    accept : bool, default False
        Whether a result is delivered although its verdict is "failed" (`registration.verdict`).
    save : tuple of {"jacobian", "uncertainty", "clusters", "grid"}, default ()
        Which maps come with the result (`registration.maps`): log of the Jacobian determinant,
        expected error of the transform, the regions that each level of a SACB-Net found, an even
        grid that was warped. A text with commas between the names counts as their list.

    Raises
    ------
    OptionError
        If a value is none of these.
    """

    weights: str = DEFAULT
    affine: AffineChoice = "auto"
    preset: Preset = "balanced"
    refine: int | None = None
    metric: Metric = "lncc"
    smoothness: float | None = None
    device: str = "auto"
    spacing: float | None = None
    box: BoxChoice = "auto"
    fill: Fill = "auto"
    precision: Precision = "float32"
    repair: bool = True
    accept: bool = False
    save: tuple[MapName, ...] = ()

    def __post_init__(self) -> None:
        one_of(
            self,
            affine=(AUTO, *AFFINES),
            preset=tuple(PRESETS),
            metric=METRICS,
            box=(AUTO, *BOXES),
            precision=PRECISIONS,
        )
        if self.refine is not None:
            at_least(self, refine=0)
        if self.smoothness is not None:
            at_least(self, smoothness=0)
        for name, given in (
            ("metric", self.metric != "lncc"),
            ("smoothness", self.smoothness is not None),
        ):
            if given and self.refinement is None:
                raise OptionError(
                    name, getattr(self, name), "refinement (preset balanced or accurate)"
                )
        if self.spacing is not None and not 0 < self.spacing < inf:
            raise OptionError("spacing", self.spacing, "a positive number of mm")
        if self.fill != AUTO:
            object.__setattr__(self, "fill", intensity("fill", self.fill))
        object.__setattr__(self, "save", map_names(self.save))

    @property
    def refinement(self) -> RefineOptions | None:
        """Options of the refinement; None where there is none.

        Steps that are asked for are "balanced" steps where the preset has none.
        """
        if self.refine is None:
            alone = self.preset == "fast" and self.weights != NONE
            chosen = None if alone else PRESETS[self.preset]
        else:
            chosen = PRESETS["balanced" if self.preset == "fast" else self.preset]
            chosen = replace(chosen, iterations=self.refine) if self.refine else None
        if chosen is None:
            return None
        smoothness = chosen.smoothness if self.smoothness is None else self.smoothness
        return replace(chosen, metric=self.metric, smoothness=smoothness)

    @property
    def steps(self) -> int:
        """Steps of the refinement at a level, at most; 0 where there is none."""
        return self.refinement.iterations if self.refinement else 0


def intensity(option: str, value: object) -> float:
    """Check a number that results hold as an intensity.

    Parameters
    ----------
    option : str
        Name of the option, for the message.
    value : object
        The value; its text counts as the number.

    Returns
    -------
    float
        The number.

    Raises
    ------
    OptionError
        If the value is no number, or one that float32 cannot hold.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = inf
    if not abs(number) < _LARGEST_FILL:
        raise OptionError(option, value, "a finite number or auto")
    return number


def map_names(given: str | Iterable[str]) -> tuple[MapName, ...]:
    """Read the names of maps.

    Parameters
    ----------
    given : str or iterable of str
        The names, or a text with commas between them.

    Returns
    -------
    tuple of {"jacobian", "uncertainty", "clusters", "grid"}
        The names, each once, in this order.

    Raises
    ------
    OptionError
        If a name is none of these.

    Examples
    --------
    >>> map_names("grid, jacobian")
    ('jacobian', 'grid')
    """
    if isinstance(given, str):
        given = (name.strip() for name in given.split(",") if name.strip())
    asked = set(given)
    for name in sorted(asked - set(MAPS), key=str):
        raise OptionError("save", name, choices(MAPS))
    return tuple(name for name in MAPS if name in asked)


class RegisterOptions(TypedDict, total=False):
    """The fields of `Options`, as keywords of `register` and `Registrar`.

    Parameters
    ----------
    weights, affine, preset, refine, metric, smoothness, device, spacing, box, fill,
    precision, repair, accept, save
        See `Options`.
    """

    weights: str
    affine: AffineChoice
    preset: Preset
    refine: int | None
    metric: Metric
    smoothness: float | None
    device: str
    spacing: float | None
    box: BoxChoice
    fill: Fill
    precision: Precision
    repair: bool
    accept: bool
    save: tuple[MapName, ...]
