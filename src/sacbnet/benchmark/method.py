"""The options of one method of a benchmark."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sacbnet.config.build import KEY, conform
from sacbnet.config.choices import AFFINES, PRESETS
from sacbnet.config.validation import OptionError, at_least, one_of
from sacbnet.errors import InputError

TOOLS = ("syn", "greedy", "elastix")
KINDS = ("train", "weights", "tool")


@dataclass(frozen=True)
class Stage:
    """A part of a training. It starts from the weights of the stage before.

    Parameters
    ----------
    train : tuple of str, default ()
        Overrides "section.option=value" of the recipe, after those of the method.
    share : int, default 1
        The stage takes ``share / (sum of all shares)`` of the steps.

    Raises
    ------
    InputError
        For an option that is not valid.
    """

    train: tuple[str, ...] = ()
    share: int = 1

    def __post_init__(self) -> None:
        conform(self)
        at_least(self, share=1)


@dataclass(frozen=True)
class Method:
    """One method: a row of the table. It has exactly one of ``train``, ``weights`` and ``tool``.

    Parameters
    ----------
    name : str
        Name in the table.
    train : tuple of str, optional
        A network is trained by the benchmark's recipe with these overrides
        "section.option=value"; () is the recipe unchanged.
    stages : tuple of Stage, default ()
        Stages of the training; () is a single one.
    weights : str, default ""
        Finished weights. "none" with ``refine=0`` is the identity.
    tool : str, default ""
        A tool of another maker: "syn", "greedy" or "elastix".
    seeds : tuple of int, default ()
        Seeds of the training; () are those of the benchmark.
    affine : str, default "none"
        Affine alignment before all other stages. A tool has its own: "none" or "affine".
    preset : str, default ""
        Preset of the registration, for a network.
    refine : int, optional
        Steps of refinement at each level, for a network.
    repair : bool, default False
        Remove folds, for a network.

    Raises
    ------
    InputError
        For an option that is not valid, and for options that exclude each other.
    """

    name: str
    train: tuple[str, ...] | None = None
    stages: tuple[Stage, ...] = field(default=(), metadata={KEY: "stage"})
    weights: str = ""
    tool: str = ""
    seeds: tuple[int, ...] = ()
    affine: str = "none"
    preset: str = ""
    refine: int | None = None
    repair: bool = False

    def __post_init__(self) -> None:
        conform(self)
        if not self.slug:
            raise OptionError("name", self.name, "a name with a letter or a digit")
        given = [kind for kind in KINDS if getattr(self, kind) not in (None, "")]
        if len(given) != 1:
            told = " and ".join(given) or "none"
            raise InputError(
                f"the method {self.name!r} has {told} of {', '.join(KINDS)}; exactly one was"
                " expected"
            )
        if (self.stages or self.seeds) and self.train is None:
            raise InputError(
                f"the method {self.name!r} has stages or seeds, but is not trained; remove them, or"
                " give it `train`"
            )
        one_of(self, affine=("none", "affine") if self.tool else AFFINES, preset=("", *PRESETS))
        if self.tool:
            one_of(self, tool=TOOLS)
            if self.preset or self.refine is not None or self.repair:
                raise InputError(
                    f"the tool {self.name!r} has preset, refine or repair, which are options of"
                    " our networks; remove them"
                )

    @property
    def slug(self) -> str:
        """The name in the form of a folder's name: small letters, digits and hyphens."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
