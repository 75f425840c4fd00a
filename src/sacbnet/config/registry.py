"""The networks by name: what may be chosen about each. Someone's own network joins by an entry point. Imports no torch.

An installed package adds a network with these lines in its pyproject.toml; the class is one of `NetworkOptions`:

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
from .network import NetworkOptions
from .sacbnet import SACBNetConfig

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
    """The names of all networks: those of this package first, then those of entry points."""
    return (
        *BUILT_IN,
        *sorted({point.name for point in entry_points(group=ENTRY_POINTS)} - set(BUILT_IN)),
    )


@cache
def options_of(architecture: str) -> type[NetworkOptions]:
    """The kind of options that a network has.

    Raises InputError that names the known networks for an unknown one, and for an entry point that cannot be used.
    """
    if architecture in BUILT_IN:
        return BUILT_IN[architecture]
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == architecture:
            return _loaded(point)
    raise InputError(
        f"the network {architecture!r} is not known; one of {', '.join(architectures())} was expected"
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
            f"the network {point.name!r} ({point.value}) is no NetworkOptions of that architecture; correct its package"
        )
    return kind


def options_from_dict(architecture: str, options: Mapping[str, Any]) -> NetworkOptions:
    """From to_dict's form."""
    return options_of(architecture).from_dict(options)
