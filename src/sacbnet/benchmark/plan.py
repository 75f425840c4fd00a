"""Benchmarks: which methods are compared, on which pairs, after how much training (docs/comparison.md); a TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from sacbnet.config.build import KEY, build, conform
from sacbnet.config.choices import AFFINES, PAIRINGS, PRESETS, Pairing
from sacbnet.config.recipe import DataOptions, Recipe, read_recipe
from sacbnet.config.toml import find_toml, read_toml
from sacbnet.config.validation import OptionError, at_least, one_of
from sacbnet.errors import InputError
from sacbnet.training.folder import find_recipe

TOOLS = ("syn", "greedy", "elastix")
KINDS = ("train", "weights", "tool")
PLACES = (Path(__file__).parent / "plans",)
KEPT = ("last", "best")


@dataclass(frozen=True)
class Stage:
    """A part of a training, which begins with the weights of the one before. train: overrides of the recipe, beside
    those of the method. share: how much of all steps it takes, in proportion to the other stages' shares."""

    train: tuple[str, ...] = ()
    share: int = 1

    def __post_init__(self) -> None:
        conform(self)
        at_least(self, share=1)


@dataclass(frozen=True)
class Method:
    """One method, a row of the table; by exactly one of `train`, `weights` and `tool`.

    train: overrides "section.option=value" of the benchmark's recipe, by which a network is trained; [] is the recipe
    as it is. stages: of that training, if it has any. weights: finished ones, or "none", which with refine = 0 is the
    identity. tool: one of other makers. seeds: of the training, instead of the benchmark's. affine: alignment before
    all else; a tool's own. preset, refine, repair: as of `sacbnet evaluate`, for what is no tool.
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
                f"the method {self.name!r} has {told} of {', '.join(KINDS)}; exactly one was expected"
            )
        if (self.stages or self.seeds) and self.train is None:
            raise InputError(
                f"the method {self.name!r} has stages or seeds, but is not trained; remove them, or train"
            )
        one_of(self, affine=("none", "affine") if self.tool else AFFINES, preset=("", *PRESETS))
        if self.tool:
            one_of(self, tool=TOOLS)
            if self.preset or self.refine is not None or self.repair:
                raise InputError(
                    f"the tool {self.name!r} has preset, refine or repair, which are ours; remove them"
                )

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True)
class Plan:
    """A benchmark.

    recipe: whose data options say which pairs and labels are scored and how images are aligned, and by whose options
    networks are trained; "" is all pairs of all cases. subset, pairs: other cases and another pairing to score, "" the
    recipe's validation. steps: of the training of each trained method, all its stages together; 0 is the recipe's.
    seeds: of each. changes: overrides of the recipe for all. keep: which weights of a training are scored, the last or
    the best by validation (which have seen the validation pairs). methods: the first is what the others are held
    against.
    """

    name: str = "benchmark"
    about: str = ""
    recipe: str = ""
    subset: str = ""
    pairs: str = ""
    steps: int = 0
    seeds: tuple[int, ...] = (0,)
    changes: tuple[str, ...] = ()
    keep: str = "last"
    methods: tuple[Method, ...] = field(default=(), metadata={KEY: "method"})

    def __post_init__(self) -> None:
        conform(self)
        at_least(self, steps=0)
        one_of(self, keep=KEPT, pairs=("", *PAIRINGS))
        if not self.methods or not self.seeds:
            raise InputError(
                f"the benchmark {self.name!r} has no {'seeds' if self.methods else '[[method]]'}; name one"
            )
        for what in ("name", "slug"):
            found = [getattr(method, what) for method in self.methods]
            if twice := sorted({x for x in found if found.count(x) > 1}):
                raise InputError(
                    f"two methods have the {what} {twice[0]!r}; each must have its own"
                )

    def data(self) -> DataOptions:
        """Which pairs are scored (as `validation`), which labels, and how images are aligned."""
        found = self._recipe().data if self.recipe else DataOptions(validation_pairs="all")
        return replace(
            found,
            validation=self.subset or found.validation,
            validation_pairs=cast(Pairing, self.pairs or found.validation_pairs),
        )

    def seeds_of(self, method: Method) -> tuple[int | None, ...]:
        """(None,) for what is not trained."""
        return (method.seeds or self.seeds) if method.train is not None else (None,)

    def recipes(self, method: Method, seed: int) -> tuple[Recipe, ...]:
        """One for each stage of a method's training, in their order. InputError for an override that does not fit."""
        base = self._recipe().with_changes(self.changes)
        stages, steps = method.stages or (Stage(),), self.steps or base.run.steps
        ends = [
            steps * sum(s.share for s in stages[:n]) // sum(s.share for s in stages)
            for n in range(len(stages) + 1)
        ]
        out = []
        for n, stage in enumerate(stages):
            mine = ends[n + 1] - ends[n]
            fixed = [f"run.steps={mine}", f"run.seed={seed}"]
            if self.keep == "last":
                fixed.append(f"run.validate_every={max(mine, 1)}")
            recipe = base.with_changes([*(method.train or ()), *stage.train, *fixed])
            out.append(
                replace(
                    recipe,
                    name=f"{self.name}: {method.name}",
                    about=f"Of the benchmark {self.name}.",
                )
            )
        return tuple(out)

    def _recipe(self) -> Recipe:
        if not self.recipe:
            raise InputError(f"the benchmark {self.name!r} trains, but has no recipe; name one")
        return read_recipe(find_recipe(self.recipe))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def find_plan(name: str) -> Path:
    """The file that `name` means: itself, or a benchmark that comes with the package. InputError lists those."""
    return find_toml(name, "benchmark", PLACES)


def read_plan(path: str | Path) -> Plan:
    """Read a benchmark from a TOML file, and check the overrides of every trained method.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    Plan
        The benchmark.

    Raises
    ------
    InputError
        For a file that cannot be read or is not TOML, and for an option or an override that is not
        valid; the message names it.
    """
    plan = plan_from_dict(read_toml(path, "benchmark"))
    check_plan(plan)
    return plan


def check_plan(plan: Plan) -> None:
    """Check that the overrides of every trained method fit its recipe.

    Parameters
    ----------
    plan : Plan
        The benchmark.

    Raises
    ------
    InputError
        For an override that does not fit; the message names the option.
    """
    for method in plan.methods:
        for seed in plan.seeds_of(method)[:1]:
            if seed is not None:
                plan.recipes(method, seed)


def plan_from_dict(tree: Mapping[str, Any]) -> Plan:
    """Make a benchmark from the tables of a TOML file.

    Parameters
    ----------
    tree : mapping
        The benchmark's own options, and a list of tables "method", which may hold a list "stage".

    Returns
    -------
    Plan
        The benchmark.

    Raises
    ------
    InputError
        For an option that is not known, lacks, or has a value that is not valid.
    """
    return build(Plan, tree, "the benchmark")
