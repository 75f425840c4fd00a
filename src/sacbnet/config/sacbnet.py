"""What a SACB-Net is made of, as one immutable value that goes to JSON and back. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sacbnet.errors import InputError

from .network import NetworkOptions, is_whole

LEVELS = (2, 3, 4, 5)
DESCRIPTORS = ("spatial", "channel", "both")


ASSIGNMENTS = ("hard", "soft")
NUMBERS = ("fixed", "image")
SCORES = ("raw", "scaled")
LEVEL1 = ("head", "matching", "both")


@dataclass(frozen=True)
class SACBNetConfig(NetworkOptions):
    """Options of SACBNet; the defaults are the published network (Cheng et al., CVPR 2025).

    base_channels: width c; the five levels have 2c, 4c, 8c, 16c, 16c channels.
    clusters: K-means clusters at levels 2, 3, 4, 5 (fine to coarse).
    sacb_levels: the levels that have a SACB; () is the ablation's baseline.
    descriptor: what is clustered: means over the 3×3×3 neighbourhood ("spatial"), over the channels, or both.
    kmeans_rounds: bound of Lloyd's rounds; kmeans_seed: of the seeding's own generator.

    What the paper leaves (docs/beyond.md):
    assignment: a voxel belongs to one cluster ("hard"), or to all by its distances ("soft"), with gradients.
    number: `clusters` are that many ("fixed"), or at most that many, chosen for each image and level ("image"):
    clusters are merged while none of the mergers costs `least_share` of the descriptors' variance.
    scores: of the matching, dot products of features as they are ("raw"), or over √channels ("scaled").
    window: of the matching, 3 or 5 voxels; iterations: how often a level is matched, each time from where it is.
    level1: convolutions on both images' features find the last step ("head"), or matching at full resolution, or
    matching and then the head ("both").
    diffeomorphic: each level's step is a velocity, smoothed and integrated. symmetric: both images meet half-way, so
    that exchanging them gives the inverse transform.

    Raises InputError for values that make no network.

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
        self._whole(base_channels=1, kmeans_rounds=1, kmeans_seed=0, iterations=1)
        for name in ("clusters", "sacb_levels"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple) or not all(map(is_whole, value)):
                raise InputError(f"{name} is {value!r}; a list of whole numbers was expected")
            object.__setattr__(self, name, tuple(value))
        if len(self.clusters) != 4 or min(self.clusters) < 1:
            raise InputError(
                f"clusters is {self.clusters}; four numbers >= 1, for levels 2, 3, 4, 5, were expected"
            )
        if len(set(self.sacb_levels)) != len(self.sacb_levels) or not set(self.sacb_levels) <= set(
            LEVELS
        ):
            raise InputError(
                f"sacb_levels is {self.sacb_levels}; different ones of {LEVELS} were expected"
            )
        object.__setattr__(self, "sacb_levels", tuple(sorted(self.sacb_levels)))
        self._one_of(descriptor=DESCRIPTORS, assignment=ASSIGNMENTS, number=NUMBERS)
        self._one_of(scores=SCORES, window=(3, 5), level1=LEVEL1)
        self._one_of(diffeomorphic=(False, True), symmetric=(False, True))
        if not isinstance(self.least_share, float | int) or not 0 < self.least_share < 1:
            raise InputError(
                f"least_share is {self.least_share!r}; a share between 0 and 1 was expected"
            )

    @property
    def network(self) -> str:
        return (
            "sacbnet.networks.sacbnet.symmetric:SymmetricSACBNet"
            if self.symmetric
            else self.implementation
        )

    def channels(self, level: int) -> int:
        """Channels of the features at a level 1..5."""
        return self.base_channels * (2, 4, 8, 16, 16)[level - 1]
