"""Options of a network as one immutable value that can be written as JSON and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from .build import build, conform, plain
from .validation import OptionError

# A file of weights may state any numbers. No network has more layers, channels or clusters, and
# with more, its description alone takes minutes and gigabytes to build.
_LARGEST, _MOST_NUMBERS = 4096, 64


@dataclass(frozen=True)
class NetworkOptions:
    """What the options of all networks have in common. Each network has a subclass.

    A subclass is a frozen dataclass. Its fields are the options of the network. It checks its
    values in ``__post_init__``, after ``super().__post_init__()``, which checks the types and that
    no whole number is beyond 4096.

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
        for field in fields(self):
            value = getattr(self, field.name)
            numbers = value if isinstance(value, tuple) else (value,)
            sizes = [n for n in numbers if isinstance(n, int) and not field.name.endswith("seed")]
            if len(numbers) > _MOST_NUMBERS or sum(sizes) > _LARGEST:
                raise OptionError(
                    field.name, value, f"at most {_MOST_NUMBERS} numbers and {_LARGEST} in all"
                )

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
