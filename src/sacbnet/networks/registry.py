"""Builds a network from its options; knows no network by name (`sacbnet.config.registry` does)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sacbnet.config.network import NetworkOptions
from sacbnet.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def build(options: NetworkOptions) -> nn.Module:
    """Build the network that some options describe, with random first weights.

    Parameters
    ----------
    options : NetworkOptions
        Options of any network of this package or of an entry point.

    Returns
    -------
    nn.Module
        A network that satisfies `sacbnet.networks.contract`, in training mode.

    Raises
    ------
    InputError
        Where ``options.network`` names no class that can be imported, or the class breaks the
        contract: its instances are no torch modules, or their ``config`` is not ``options``.

    Examples
    --------
    >>> from sacbnet.config.comparison import FourierNetOptions
    >>> build(FourierNetOptions(channels=4)).config.channels
    4
    """
    from torch import nn  # here, so that a reader of options alone does not wait for torch

    module, _, name = options.network.partition(":")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"the network {options.architecture!r} names {options.network!r}, which cannot be"
            f' imported ({error}); "package.module:Class" was expected'
        ) from error
    network = kind(options)
    if not isinstance(network, nn.Module):
        raise InputError(
            f"{options.network} gave a {type(network).__name__}; a torch.nn.Module was expected"
        )
    if getattr(network, "config", None) != options:
        raise InputError(
            f"{options.network} has another `config` than the options it was built from; its"
            " constructor must set self.config = options"
        )
    return network
