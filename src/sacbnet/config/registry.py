"""The networks by name, with the options of each. Someone's own network joins by an entry point.

An installed package adds a network with these lines in its pyproject.toml. The object that the
entry point names is a subclass of `NetworkOptions`:

    [project.entry-points."sacbnet.networks"]
    mynet = "mypackage.options:MyNetOptions"
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from sacbnet.errors import InputError

from . import comparison
from .build import CONVERTER
from .network import NetworkOptions
from .sacbnet import SACBNetConfig
from .validation import OptionError, choices, shown

ENTRY_POINTS = "sacbnet.networks"
BUILT_IN: dict[str, type[NetworkOptions]] = {
    kind.architecture: kind
    for kind in (
        SACBNetConfig,
        comparison.VoxelMorphOptions,
        comparison.TransMorphOptions,
        comparison.ModeTOptions,
        comparison.LKUNetOptions,
        comparison.LapIRNOptions,
        comparison.FourierNetOptions,
    )
}


@cache
def architectures() -> tuple[str, ...]:
    """List the networks.

    Returns
    -------
    tuple of str
        The names of the networks of this package, then those of entry points in alphabetic order.
    """
    return (
        *BUILT_IN,
        *sorted({point.name for point in entry_points(group=ENTRY_POINTS)} - set(BUILT_IN)),
    )


@cache
def options_of(architecture: str) -> type[NetworkOptions]:
    """Find the options that a network has.

    Parameters
    ----------
    architecture : str
        Name of the network.

    Returns
    -------
    type
        The subclass of `NetworkOptions`.

    Raises
    ------
    InputError
        For a network that is not known, and for an entry point that cannot be used.
    """
    if architecture in BUILT_IN:
        return BUILT_IN[architecture]
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == architecture:
            return _loaded(point)
    raise InputError(
        f"the network {shown(architecture)} is not known; {choices(architectures())} was expected"
    )


def _loaded(point: Any) -> type[NetworkOptions]:
    try:
        kind = point.load()
    except Exception as error:  # somebody else's module may raise anything
        raise InputError(
            f"the network {point.name!r} ({point.value}) cannot be imported: {error}"
        ) from error
    if (
        not (isinstance(kind, type) and issubclass(kind, NetworkOptions))
        or kind.architecture != point.name
    ):
        raise InputError(
            f"the network {point.name!r} ({point.value}) is no NetworkOptions of that architecture;"
            " correct its package"
        )
    return kind


def options_from_dict(architecture: str, options: Mapping[str, Any]) -> NetworkOptions:
    """Make the options of a network from the result of `NetworkOptions.to_dict`.

    Parameters
    ----------
    architecture : str
        Name of the network.
    options : mapping
        Name of an option -> its value.

    Returns
    -------
    NetworkOptions
        The options.

    Raises
    ------
    InputError
        For a network or an option that is not known, or a value that is not valid.
    """
    return options_of(architecture).from_dict(options)


def model_tree(options: NetworkOptions) -> dict[str, Any]:
    """Turn the options of any network into the table of a recipe's section "model".

    Parameters
    ----------
    options : NetworkOptions
        The options.

    Returns
    -------
    dict
        The option "architecture", then those of the network.
    """
    return {"architecture": options.architecture} | options.to_dict()


def _of_any_network(table: Any, _: Any) -> NetworkOptions:
    """Options of the network that the option "architecture" of a table names."""
    if isinstance(table, NetworkOptions):
        return table
    if not isinstance(table, Mapping):
        raise OptionError("", table, "a section of options")
    architecture = table.get("architecture", SACBNetConfig.architecture)
    if not isinstance(architecture, str):
        raise OptionError("architecture", architecture, "text")
    rest = {name: value for name, value in table.items() if name != "architecture"}
    return CONVERTER.structure(rest, options_of(architecture))


CONVERTER.register_structure_hook_func(lambda kind: kind is NetworkOptions, _of_any_network)
CONVERTER.register_unstructure_hook_func(lambda kind: kind is NetworkOptions, model_tree)
