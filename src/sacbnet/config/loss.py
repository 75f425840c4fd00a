"""Options of the loss of a training run; `losses.registry` has the losses that it may name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sacbnet.errors import InputError
from sacbnet.losses.registry import NCC, Kind, Similarity, Smoothness, loss_named, names

from .build import build, conform, plain
from .validation import OptionError, at_least, one_of

_OF_NCC = tuple(f.name for f in fields(NCC))  # its parameters are options of the section itself


@dataclass(frozen=True)
class LossOptions:
    """What training minimises: a weighted sum of terms. A weight of 0 leaves a term out.

    Parameters
    ----------
    similarity : {"ncc", "mse", "mutual_information", "mind"} or of an entry point, default "ncc"
        How the likeness of the fixed and the moved image is measured.
    similarity_parameters : dict, default {}
        Parameters of the similarity, such as bins, by name; those left out have their defaults.
        The parameters of "ncc" are the options `window` and `noise`.
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
    smoothness : {"gradient", "bending"} or of an entry point, default "gradient"
        How the roughness of the displacement is measured.
    smoothness_parameters : dict, default {}
        Parameters of the smoothness, by name.
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
    similarity_parameters: dict[str, Any] = field(default_factory=dict, hash=False)
    smoothness_parameters: dict[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        conform(self)
        one_of(self, similarity=names(Similarity), smoothness=names(Smoothness))
        at_least(self, **{f.name: 0 for f in fields(self) if f.name.endswith("_weight")})
        at_least(self, window=1, scales=1, noise=0, dice_labels=0)
        if self.window % 2 == 0:
            raise OptionError("window", self.window, "an odd number of voxels")
        if not (self.similarity_weight or self.dice_weight):
            raise InputError("the loss has neither similarity nor Dice; give one of them a weight")
        for name in set(_OF_NCC) & set(self.similarity_parameters if self._by_ncc else ()):
            raise OptionError(
                f"similarity_parameters.{name}",
                self.similarity_parameters[name],
                f"the option {name} of the section itself",
            )
        rest = _without(_OF_NCC if self._by_ncc else (), self.similarity_term)
        object.__setattr__(self, "similarity_parameters", rest)
        object.__setattr__(self, "smoothness_parameters", plain(self.smoothness_term))

    @property
    def similarity_term(self) -> Similarity:
        """The similarity with its parameters."""
        own = {name: getattr(self, name) for name in _OF_NCC} if self._by_ncc else {}
        return self._term("similarity", Similarity, self.similarity_parameters | own)

    @property
    def smoothness_term(self) -> Smoothness:
        """The smoothness with its parameters."""
        return self._term("smoothness", Smoothness, self.smoothness_parameters)

    @property
    def _by_ncc(self) -> bool:
        return self.similarity == NCC.name

    def _term(self, option: str, kind: type[Kind], parameters: Mapping[str, Any]) -> Kind:
        name = getattr(self, option)
        try:
            return build(loss_named(name, kind), parameters, f"the loss {name!r}")
        except OptionError as error:
            place = f"{option}_parameters.{error.option}"
            raise OptionError(place, error.value, error.expected) from None


def _without(names: tuple[str, ...], term: Similarity) -> dict[str, Any]:
    return {name: value for name, value in plain(term).items() if name not in names}


def default_parameters(option: str, name: str) -> dict[str, Any]:
    """Give the parameters that a loss has by default.

    Parameters
    ----------
    option : {"similarity", "smoothness"}
        The option of the section that names the loss.
    name : str
        The name.

    Returns
    -------
    dict
        What the option ``similarity_parameters`` or ``smoothness_parameters`` then holds.

    Raises
    ------
    OptionError
        For a name that is not known.
    """
    try:
        found = LossOptions(**{option: name})  # type: ignore[arg-type]
    except OptionError as error:
        raise OptionError(f"loss.{error.option}", error.value, error.expected) from None
    parameters: dict[str, Any] = getattr(found, f"{option}_parameters")
    return parameters
