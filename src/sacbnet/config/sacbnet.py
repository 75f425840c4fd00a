"""Options of SACB-Net."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .network import NetworkOptions
from .validation import OptionError, at_least, one_of

LEVELS = (2, 3, 4, 5)
DESCRIPTORS = ("spatial", "channel", "both")
ASSIGNMENTS = ("hard", "soft")
NUMBERS = ("fixed", "image")
SCORES = ("raw", "scaled")
LEVEL1 = ("head", "matching", "both")


@dataclass(frozen=True)
class SACBNetConfig(NetworkOptions):
    """Options of SACB-Net. The defaults are the published network.

    The options from `assignment` on go beyond the paper; `docs/explanation/beyond.md` explains
    them.

    Parameters
    ----------
    base_channels : int, default 4
        Width c of the encoder. The five levels have 2c, 4c, 8c, 16c and 16c channels.
    clusters : tuple of 4 int, default (7, 7, 7, 7)
        Number of K-means clusters at levels 2, 3, 4, 5 (fine to coarse).
    sacb_levels : tuple of int, default (2, 3, 4, 5)
        The levels that have a SACB; () is the baseline of the ablation.
    descriptor : {"spatial", "channel", "both"}, default "spatial"
        What is clustered: means over the 3×3×3 neighbourhood, means over the channels, or both.
    kmeans_rounds : int, default 100
        Largest number of Lloyd's rounds.
    kmeans_seed : int, default 0
        Seed of the generator that draws the first centres.
    assignment : {"hard", "soft"}, default "hard"
        A voxel belongs to one cluster, or to all clusters by its distances, with gradients.
    number : {"fixed", "image"}, default "fixed"
        The number of clusters is `clusters`, or at most `clusters` and chosen for each image and
        level: clusters are merged while no merger costs `least_share`.
    least_share : float, default 0.02
        Share of the descriptors' variance, between 0 and 1, that a merger may cost.
    scores : {"raw", "scaled"}, default "raw"
        Scores of the matching: dot products of features, or those divided by √channels.
    window : {3, 5}, default 3
        Side of the matching window, in voxels.
    iterations : int, default 1
        How often each level is matched; each time begins from the displacement of the last.
    level1 : {"head", "matching", "both"}, default "head"
        How the last step is found: convolutions on the features of both images, matching at full
        resolution, or first matching and then the convolutions.
    diffeomorphic : bool, default False
        The step of each level is a velocity, which is smoothed and integrated.
    symmetric : bool, default False
        Both images meet half-way, so that exchanging them gives the inverse transform.

    Raises
    ------
    OptionError
        For a value that is not valid.

    References
    ----------
    Cheng et al., "SACB-Net: spatial-awareness convolutions for medical image registration", CVPR
    2025.

    Examples
    --------
    >>> SACBNetConfig.from_dict(SACBNetConfig(clusters=(5, 5, 7, 7)).to_dict()).clusters
    (5, 5, 7, 7)
    """

    architecture: ClassVar[str] = "sacbnet"
    implementation: ClassVar[str] = "sacbnet.networks.sacbnet.network:SACBNet"

    base_channels: int = 4
    clusters: tuple[int, int, int, int] = (7, 7, 7, 7)
    sacb_levels: tuple[int, ...] = LEVELS
    descriptor: str = "spatial"
    kmeans_rounds: int = 100
    kmeans_seed: int = 0
    assignment: str = "hard"
    number: str = "fixed"
    least_share: float = 0.02
    scores: str = "raw"
    window: int = 3
    iterations: int = 1
    level1: str = "head"
    diffeomorphic: bool = False
    symmetric: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, base_channels=1, kmeans_rounds=1, kmeans_seed=0, iterations=1, clusters=1)
        if len(self.clusters) != len(LEVELS):
            raise OptionError("clusters", self.clusters, "a list of four, for levels 2, 3, 4, 5,")
        levels = sorted(set(self.sacb_levels))
        if len(levels) != len(self.sacb_levels) or not set(levels) <= set(LEVELS):
            raise OptionError(
                "sacb_levels", self.sacb_levels, f"a list of different ones of {LEVELS}"
            )
        object.__setattr__(self, "sacb_levels", tuple(levels))
        one_of(self, descriptor=DESCRIPTORS, assignment=ASSIGNMENTS, number=NUMBERS)
        one_of(self, scores=SCORES, window=(3, 5), level1=LEVEL1)
        if not 0 < self.least_share < 1:
            raise OptionError("least_share", self.least_share, "a share between 0 and 1")

    @property
    def network(self) -> str:
        """The class to build: that of the symmetric form has a name of its own."""
        return (
            "sacbnet.networks.sacbnet.symmetric:SymmetricSACBNet"
            if self.symmetric
            else self.implementation
        )

    def channels(self, level: int) -> int:
        """Tell the width of a level.

        Parameters
        ----------
        level : int
            1 (full resolution) to 5.

        Returns
        -------
        int
            Channels of the features.
        """
        return self.base_channels * (2, 4, 8, 16, 16)[level - 1]
