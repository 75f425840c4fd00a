"""The weights that a training begins with."""

from __future__ import annotations

from typing import cast

from torch import nn

from sacbnet.config.comparison import LapIRNOptions
from sacbnet.config.network import NetworkOptions
from sacbnet.errors import InputError
from sacbnet.networks.weights.info import WeightsInfo
from sacbnet.networks.weights.load import load_weights


def begin_from(weights: str, network: nn.Module) -> WeightsInfo:
    """Put the parameters of weights into a network.

    The numbers of clusters and of rounds may differ, because no parameter belongs to them. A LapIRN
    may begin from a LapIRN of fewer levels, since it is trained level by level; the further levels
    then begin at random.

    Parameters
    ----------
    weights : str
        A name, a file or a run folder.
    network : nn.Module
        The network; its parameters are replaced.

    Returns
    -------
    WeightsInfo
        What the weights say of themselves.

    Raises
    ------
    InputError
        For weights of another network, or of other options.
    WeightsError
        For weights that are not found or cannot be read.
    """
    found, info = load_weights(weights)
    mine, theirs = (net.state_dict() for net in (network, found))
    shapes, given = ({n: p.shape for n, p in state.items()} for state in (mine, theirs))
    ours, other = (cast(NetworkOptions, net.config) for net in (network, found))
    grows = isinstance(ours, LapIRNOptions) and isinstance(other, LapIRNOptions)
    if given != ({n: shape for n, shape in shapes.items() if n in given} if grows else shapes):
        a, b = ({"architecture": o.architecture} | o.to_dict() for o in (ours, other))
        differ = ", ".join(
            f"{name} is {a[name]}, there {b.get(name)}" for name in a if a[name] != b.get(name)
        )
        raise InputError(
            f"run.start_from names weights of another network (model.{differ}); set the options to"
            " theirs"
        )
    network.load_state_dict(theirs, strict=not grows)
    return info
