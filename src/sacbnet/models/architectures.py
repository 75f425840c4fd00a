"""The networks by name: their options, and how they are built. Imports torch only to build one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .comparison import options as comparison
from .config import SACBNetConfig
from .options import NetworkOptions

if TYPE_CHECKING:
    from torch import nn

OPTIONS: dict[str, type[NetworkOptions]] = {
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
_NETWORKS = {
    "sacbnet": ("sacbnet", "SACBNet"),
    "voxelmorph": ("comparison.voxelmorph", "VoxelMorph"),
    "transmorph": ("comparison.transmorph", "TransMorph"),
    "modet": ("comparison.modet", "ModeT"),
    "lkunet": ("comparison.lkunet", "LKUNet"),
    "lapirn": ("comparison.lapirn", "LapIRN"),
    "fouriernet": ("comparison.fouriernet", "FourierNet"),
}


def options_of(architecture: str) -> type[NetworkOptions]:
    """The kind of options that a network has. InputError names those that are known."""
    if architecture not in OPTIONS:
        raise InputError(f"the network {architecture!r} is not known; one of {', '.join(OPTIONS)} was expected")
    return OPTIONS[architecture]


def options_from_dict(architecture: str, options: Mapping[str, Any]) -> NetworkOptions:
    """From to_dict's form."""
    return options_of(architecture).from_dict(options)


def build(options: NetworkOptions) -> nn.Module:
    """The network of these options, with weights drawn at random (`contract`)."""
    module, name = _NETWORKS[options.architecture]
    if isinstance(options, SACBNetConfig) and options.symmetric:
        module, name = "symmetric", "SymmetricSACBNet"
    network: nn.Module = getattr(import_module(f".{module}", __package__), name)(options)
    return network
