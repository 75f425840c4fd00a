"""Options of a network as one immutable value that goes to JSON and back. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from sacbnet.errors import InputError


@dataclass(frozen=True)
class NetworkOptions:
    """What every network's options have in common.

    architecture: the name of the network that they belong to. implementation: where its class is, as
    "package.module:Class"; it is called with the options alone.
    """

    architecture: ClassVar[str]
    implementation: ClassVar[str]

    @property
    def network(self) -> str:
        """The class to build for these options; a network of several forms chooses here."""
        return self.implementation

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON has them (tuples become lists)."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """From to_dict's form; raises InputError for options it does not know."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(options) - set(known)):
            raise InputError(
                f"unknown network options {', '.join(unknown)}; known are {', '.join(known) or 'none'}"
            )
        return cls(**options)

    def _whole(self, **least: int) -> None:
        """InputError for an option that is not a whole number of at least so much."""
        for name, low in least.items():
            value = getattr(self, name)
            if not is_whole(value) or value < low:
                raise InputError(
                    f"{name} is {value!r}; a whole number of at least {low} was expected"
                )

    def _wholes(self, **least: int) -> None:
        """InputError for an option that is not a list of such; lists become tuples."""
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, list | tuple) or not all(
                is_whole(v) and v >= low for v in value
            ):
                raise InputError(
                    f"{name} is {value!r}; a list of whole numbers of at least {low} was expected"
                )
            object.__setattr__(self, name, tuple(value))

    def _one_of(self, **known: tuple[object, ...]) -> None:
        """InputError for an option that is none of these."""
        for name, values in known.items():
            if getattr(self, name) not in values:
                told = ", ".join(map(str, values))
                raise InputError(f"{name} is {getattr(self, name)!r}; one of {told} was expected")


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
