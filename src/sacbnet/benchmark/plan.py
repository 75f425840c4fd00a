"""The plan of a benchmark, from a TOML file: which methods are compared, and on which pairs.

docs/how-to/comparison.md describes the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from sacbnet.config.build import KEY, build, conform
from sacbnet.config.choices import PAIRINGS, Pairing
from sacbnet.config.recipe import DataOptions, Recipe, read_recipe
from sacbnet.config.toml import find_toml, read_toml
from sacbnet.config.validation import at_least, one_of
from sacbnet.errors import InputError
from sacbnet.training.folder import find_recipe

from .method import Method, Stage

PLACES = (Path(__file__).parent / "plans",)
KEPT = ("last", "best")


@dataclass(frozen=True)
class Plan:
    """A benchmark.

    Parameters
    ----------
    name : str, default "benchmark"
        Heading of the table.
    about : str, default ""
        A paragraph below the heading.
    recipe : str, default ""
        Name or file of a recipe. Its data options say which pairs and labels are scored and how
        the images are aligned. Networks are trained by its other options. "" scores all pairs of
        all cases.
    subset : str, default ""
        Cases to score; "" are the validation cases of the recipe.
    pairs : str, default ""
        Pairing of the cases; "" is that of the recipe's validation.
    steps : int, default 0
        Training steps of each method, all stages together; 0 is the recipe's number.
    seeds : tuple of int, default (0,)
        Every network is trained once from each seed.
    changes : tuple of str, default ()
        Overrides "section.option=value" of the recipe, for all methods.
    keep : {"last", "best"}, default "last"
        Which weights of a training are scored. The best weights by validation have seen the
        validation pairs.
    methods : tuple of Method
        The first method is the reference that the others are compared with.

    Raises
    ------
    InputError
        For an option that is not valid, and for two methods of one name.
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
                f"the benchmark {self.name!r} has no {'seeds' if self.methods else '[[method]]'};"
                " name one"
            )
        for what in ("name", "slug"):
            found = [getattr(method, what) for method in self.methods]
            if twice := sorted({x for x in found if found.count(x) > 1}):
                raise InputError(
                    f"two methods have the {what} {twice[0]!r}; each must have its own"
                )

    def data(self) -> DataOptions:
        """Get the options of the data to score.

        Returns
        -------
        DataOptions
            ``validation`` and ``validation_pairs`` say which pairs are scored. The others say which
            labels are scored and how the images are aligned.

        Raises
        ------
        InputError
            Where the recipe is not found or not valid.
        """
        found = self._recipe().data if self.recipe else DataOptions(validation_pairs="all")
        return replace(
            found,
            validation=self.subset or found.validation,
            validation_pairs=cast(Pairing, self.pairs or found.validation_pairs),
        )

    def seeds_of(self, method: Method) -> tuple[int | None, ...]:
        """List the seeds of a method's trainings.

        Parameters
        ----------
        method : Method
            A method of this benchmark.

        Returns
        -------
        tuple of int or None
            The seeds; (None,) where nothing is trained.
        """
        return (method.seeds or self.seeds) if method.train is not None else (None,)

    def recipes(self, method: Method, seed: int) -> tuple[Recipe, ...]:
        """Make the recipes of a method's training.

        Parameters
        ----------
        method : Method
            A method that is trained.
        seed : int
            Seed of the training.

        Returns
        -------
        tuple of Recipe
            One recipe for each stage, in their order.

        Raises
        ------
        InputError
            Where the benchmark has no recipe, and for an override that is not valid.
        """
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
        """Convert to plain values, as summary.json holds them.

        Returns
        -------
        dict
            The fields; methods and stages are dictionaries, too.
        """
        return asdict(self)


def find_plan(name: str) -> Path:
    """Find the file that a name means.

    Parameters
    ----------
    name : str
        Path of a file, or the name of a benchmark that comes with the package.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        Where there is no such file; the message lists the names that are known.
    """
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
