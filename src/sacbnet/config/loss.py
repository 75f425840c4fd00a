"""Options of the loss of a training run."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sacbnet.errors import InputError

from .build import conform
from .validation import OptionError, at_least, one_of

SIMILARITIES = ("ncc", "mse", "mutual_information", "mind")
SMOOTHNESS = ("gradient", "bending")


@dataclass(frozen=True)
class LossOptions:
    """What training minimises: a weighted sum of terms. A weight of 0 leaves a term out.

    Parameters
    ----------
    similarity : {"ncc", "mse", "mutual_information", "mind"}, default "ncc"
        How the likeness of the fixed and the moved image is measured.
    similarity_weight : float, default 1
        Weight of the similarity.
    window : int, default 9
        Side of the correlation box of "ncc", in voxels; odd.
    scales : int, default 1
        The similarity is the mean over this many resolutions: full resolution, and images halved
        once, twice, and so on, as in the pyramid of LapIRN. Correlation boxes are halved with the
        images, but not below 5 voxels.
    noise : float, default 0
        Standard deviation of intensity, of a range of 1, at and below which a correlation box of
        "ncc" counts as noise. 0 means VoxelMorph's constant, as in the paper.
    smoothness : {"gradient", "bending"}, default "gradient"
        How the roughness of the displacement is measured.
    smoothness_weight : float, default 1
        Weight of the smoothness.
    jacobian_weight : float, default 0
        Weight of the penalty on folding.
    dice_weight : float, default 0
        Weight of the Dice loss of labels.
    dice_labels : int, default 0
        Number of labels that the Dice loss sees in one pair; they are drawn anew each time. 0 means
        all labels.
    inverse_consistency_weight : float, default 0
        Weight of the inverse consistency. With a positive weight the network runs in both
        directions.

    Raises
    ------
    InputError
        For a value that is not valid, or a loss that sees neither images nor labels.

    References
    ----------
    Mok and Chung, "Large deformation diffeomorphic image registration with Laplacian pyramid
    networks", MICCAI 2020 (scales).
    """

    similarity: str = "ncc"
    similarity_weight: float = 1.0
    window: int = 9
    scales: int = 1
    noise: float = 0.0
    smoothness: str = "gradient"
    smoothness_weight: float = 1.0
    jacobian_weight: float = 0.0
    dice_weight: float = 0.0
    dice_labels: int = 0
    inverse_consistency_weight: float = 0.0

    def __post_init__(self) -> None:
        conform(self)
        one_of(self, similarity=SIMILARITIES, smoothness=SMOOTHNESS)
        at_least(self, **{f.name: 0 for f in fields(self) if f.name.endswith("_weight")})
        at_least(self, window=1, scales=1, noise=0, dice_labels=0)
        if self.window % 2 == 0:
            raise OptionError("window", self.window, "an odd number of voxels")
        if not (self.similarity_weight or self.dice_weight):
            raise InputError("the loss has neither similarity nor Dice; give one of them a weight")
