"""A network from its options: the one place that knows no network by name (`sacbnet.config.registry` does)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sacbnet.config.network import NetworkOptions

if TYPE_CHECKING:
    from torch import nn


def build(options: NetworkOptions) -> nn.Module:
    """The network of these options, with weights drawn at random (`contract`)."""
    module, _, name = options.network.partition(":")
    network: nn.Module = getattr(import_module(module), name)(options)
    return network
