"""Options of a network as one immutable value that can be written as JSON and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from .build import build, conform, plain


@dataclass(frozen=True)
class NetworkOptions:
    """What the options of all networks have in common. Each network has a subclass.

    A subclass is a frozen dataclass. Its fields are the options of the network. It checks its
    values in ``__post_init__``, after ``super().__post_init__()``, which checks the types.

    Attributes
    ----------
    architecture : str
        Name of the network that the options belong to.
    implementation : str
        The network's class, as "package.module:Class". It is called with the options alone.
    """

    architecture: ClassVar[str]
    implementation: ClassVar[str]

    def __post_init__(self) -> None:
        conform(self)

    @property
    def network(self) -> str:
        """The class to build for these options; a network of several forms chooses here."""
        return self.implementation

    def to_dict(self) -> dict[str, Any]:
        """Turn the options into values that JSON has.

        Returns
        -------
        dict
            Name of an option -> its value; tuples become lists.
        """
        return plain(self)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """Make the options from the result of `to_dict`.

        Parameters
        ----------
        options : mapping
            Name of an option -> its value. Options that are left out have their defaults.

        Returns
        -------
        NetworkOptions
            The options.

        Raises
        ------
        InputError
            For an option that is not known, or has a value that is not valid.
        """
        return build(cls, options, f"the network {cls.architecture!r}")
