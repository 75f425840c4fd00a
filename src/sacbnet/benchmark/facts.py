"""What is known of a benchmark's methods besides their scores: facts and failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What is known of a method's seed. A field is None where it does not apply.

    Parameters
    ----------
    steps : int or None, default None
        Steps of the training.
    training_seconds : float or None, default None
        Seconds of the training.
    parameters : int or None, default None
        Number of the network's parameters.
    weights : str or None, default None
        Hash of weights that are not trained by the benchmark.
    tool : str or None, default None
        Name and version of a tool of another maker.
    """

    steps: int | None = None
    training_seconds: float | None = None
    parameters: int | None = None
    weights: str | None = None
    tool: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, as methods.json holds them.

        Returns
        -------
        dict
            The fields that apply.
        """
        return _without_none(asdict(self))


@dataclass(frozen=True)
class MethodFacts:
    """What is known of a method over its seeds. A field is None where it does not apply.

    Parameters
    ----------
    parameters : int or None, default None
        Number of the network's parameters.
    steps : int or None, default None
        Steps of a training.
    tool : str or None, default None
        Name and version of a tool of another maker.
    training_minutes : float or None, default None
        Minutes of a training, the mean over the seeds.
    seeds : mapping of str to Facts, default empty
        The facts of each seed.
    """

    parameters: int | None = None
    steps: int | None = None
    tool: str | None = None
    training_minutes: float | None = None
    seeds: Mapping[str, Facts] = field(default_factory=dict)

    @classmethod
    def of(cls, seeds: Mapping[str, Facts]) -> MethodFacts:
        """Summarise the facts of a method's seeds.

        Parameters
        ----------
        seeds : mapping of str to Facts
            By seed. Where seeds differ, the last one counts.

        Returns
        -------
        MethodFacts
            The summary.
        """
        last: dict[str, Any] = {}
        for facts in seeds.values():
            found = {name: getattr(facts, name) for name in ("parameters", "steps", "tool")}
            last |= _without_none(found)
        spent = [f.training_seconds for f in seeds.values() if f.training_seconds is not None]
        minutes = round(sum(spent) / len(spent) / 60, 2) if spent else None
        return cls(**last, training_minutes=minutes, seeds=seeds)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, as summary.json holds them.

        Returns
        -------
        dict
            The fields that apply, and "seeds" with the facts of each seed.
        """
        names = ("parameters", "steps", "tool", "training_minutes")
        found = _without_none({name: getattr(self, name) for name in names})
        return found | {"seeds": {seed: f.to_dict() for seed, f in self.seeds.items()}}


@dataclass(frozen=True)
class Failure:
    """What failed: a pair, or a method's seed as a whole.

    Parameters
    ----------
    method : str
        Name of the method.
    seed : str
        Seed of its training; "" for a method that is not trained.
    error : str
        What was raised, in one line.
    moving : str, default ""
        Name of the moving case; "" where the seed failed as a whole.
    fixed : str, default ""
        Name of the fixed case, alike.
    """

    method: str
    seed: str
    error: str
    moving: str = ""
    fixed: str = ""

    def to_dict(self) -> dict[str, str]:
        """Convert to plain values, as summary.json holds them.

        Returns
        -------
        dict of str to str
            Method, seed and error; moving and fixed where a pair failed.
        """
        pair = {"moving": self.moving, "fixed": self.fixed} if self.moving else {}
        return {"method": self.method, "seed": self.seed, **pair, "error": self.error}


@dataclass
class Known:
    """What is known of one method.

    Parameters
    ----------
    definition : dict
        All that its scores depend on, as JSON holds it.
    facts : dict of str to Facts, default empty
        By seed.
    failed : dict of str to list of Failure, default empty
        By seed: what failed when it was last tried.
    """

    definition: dict[str, Any]
    facts: dict[str, Facts] = field(default_factory=dict)
    failed: dict[str, list[Failure]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, method: str, tree: Mapping[str, Any]) -> Known:
        """Read what methods.json holds of a method.

        Parameters
        ----------
        method : str
            Name of the method.
        tree : mapping
            The fields, as `to_dict` gives them.

        Returns
        -------
        Known
            The value.

        Raises
        ------
        TypeError
            For fields that are not known, or lack.
        AttributeError
            For a value that is not a mapping.
        """
        fields = {"facts": {}, "failed": {}, **tree}
        fields["facts"] = {seed: Facts(**found) for seed, found in fields["facts"].items()}
        fields["failed"] = {
            seed: [Failure(method, seed, **row) for row in rows]
            for seed, rows in fields["failed"].items()
        }
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, as methods.json holds them.

        Returns
        -------
        dict
            The fields. A failure is without its method and seed, which are the keys.
        """
        keys = ("method", "seed")
        return {
            "definition": self.definition,
            "facts": {seed: found.to_dict() for seed, found in self.facts.items()},
            "failed": {
                seed: [{k: v for k, v in x.to_dict().items() if k not in keys} for x in found]
                for seed, found in self.failed.items()
            },
        }


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
