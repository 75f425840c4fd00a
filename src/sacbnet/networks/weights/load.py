"""Weights on disk: one safetensors file that says what it is. Only what needs torch imports it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from sacbnet.config.network import NetworkOptions
from sacbnet.config.registry import architectures
from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.environment import VERSION
from sacbnet.errors import WeightsError
from sacbnet.files import atomic_file
from sacbnet.networks.registry import build

from .catalogue import check_hash, entry_with, resolve
from .info import FACTS, FORMAT_VERSION, WeightsInfo
from .shapes import parameter_shapes

if TYPE_CHECKING:
    from torch import nn

BEST, LAST = "best.safetensors", "last.safetensors"  # in the folder of a training run


def save_weights(path: str | Path, model: nn.Module, facts: Mapping[str, object]) -> WeightsInfo:
    """Write a network and what is known of its weights into one file.

    The file appears whole or not at all.

    Parameters
    ----------
    path : str or Path
        The .safetensors file.
    model : nn.Module
        The network; its attribute `config` holds its options.
    facts : Mapping[str, object]
        Fields of `WeightsInfo` by name. licence, trained_on, spacing_mm, intensity and source must
        be stated; any further text may be. Values that are no text are written as JSON.

    Returns
    -------
    WeightsInfo
        What the file now says of itself.

    Raises
    ------
    WeightsError
        If a fact that weights must state is missing.
    OutputError
        If the file cannot be written.
    """
    from safetensors.torch import save

    if missing := [fact for fact in FACTS if fact not in facts]:
        raise WeightsError(
            f"the metadata lack {', '.join(missing)}; weights must state {', '.join(FACTS)}"
        )
    text = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in facts.items()
        if value is not None
    }
    config: Any = model.config  # as every network has (`sacbnet.networks.contract`)
    text |= {
        "format_version": str(FORMAT_VERSION),
        "architecture": config.architecture,
        "config": json.dumps(config.to_dict()),
        "sacbnet_version": VERSION,
    }
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    content = save(state, metadata=text)
    with atomic_file(path) as part:
        part.write_bytes(content)
    return WeightsInfo.from_metadata(
        text,
        parameters=sum(tensor.numel() for tensor in state.values()),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def load_weights(weights: str | Path, device: str = "cpu") -> tuple[nn.Module, WeightsInfo]:
    """Load a network and what its file says of it.

    Parameters
    ----------
    weights : str or Path
        A name, a file, or the folder of a training run (`catalogue.resolve`).
    device : str, default "cpu"
        Where the network is to be.

    Returns
    -------
    model : nn.Module
        The network in evaluation mode.
    info : WeightsInfo
        What the file states, with the hash of what was loaded.

    Raises
    ------
    WeightsError
        If the name is unknown; if the file is missing, damaged (a file of the catalogue: has
        another hash), of another architecture or of a newer format; if its parameters do not fit
        its own configuration, or are not finite.
    """
    import torch
    from safetensors.torch import load

    path = weights_file(weights)
    content = _content(path)
    sha256 = hashlib.sha256(content).hexdigest()
    check_hash(path, sha256)
    info, shapes = _described(path, sha256)
    model = _on_meta(path, info.options)
    expected = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    check_shapes(str(path), shapes, expected)
    state = load(content)
    if bad := [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]:
        raise WeightsError(
            f"{path} holds NaN or infinite values in {_some(bad)}; get the file again"
        )
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return model.requires_grad_(True).to(device).eval(), info


def describe_weights(weights: str | Path) -> WeightsInfo:
    """Read what weights say of themselves, without torch.

    Parameters
    ----------
    weights : str or Path
        A name, a file, or the folder of a training run (`catalogue.resolve`).

    Returns
    -------
    WeightsInfo
        What the file states. Neither the parameters' values are looked at, nor what the catalogue
        expects of the file.

    Raises
    ------
    WeightsError
        As `load_weights`.
    """
    path = weights_file(weights)
    return _described(path, weights_hash(path))[0]


def check_weights(weights: str | Path) -> str:
    """Check that weights could be loaded, except that their values are not looked at.

    For a SACB-Net torch is not imported.

    Parameters
    ----------
    weights : str or Path
        A name, a file, or the folder of a training run (`catalogue.resolve`).

    Returns
    -------
    str
        The file's sha256, hexadecimal.

    Raises
    ------
    WeightsError
        As `load_weights`.
    """
    path = weights_file(weights)
    sha256 = weights_hash(path)
    check_hash(path, sha256)
    info, shapes = _described(path, sha256)
    check_shapes(str(path), shapes, _expected(path, info.options))
    return sha256


def _expected(path: Path, config: NetworkOptions) -> Mapping[str, tuple[int, ...]]:
    """Name and shape of each parameter."""
    if isinstance(config, SACBNetConfig):
        return parameter_shapes(config)
    return {name: tuple(p.shape) for name, p in _on_meta(path, config).state_dict().items()}


def _on_meta(path: Path, config: NetworkOptions) -> nn.Module:
    """The network without memory for its parameters."""
    import torch

    try:
        with torch.device("meta"):
            return build(config)
    except RuntimeError as error:  # sizes that overflow
        raise WeightsError(
            f"{path} describes a network that cannot be built ({config.architecture}); get the file"
            " again"
        ) from error


def weights_hash(weights: str | Path) -> str:
    """Hash the file that weights mean.

    Parameters
    ----------
    weights : str or Path
        A name, a file, or the folder of a training run (`catalogue.resolve`).

    Returns
    -------
    str
        The file's sha256, hexadecimal.

    Raises
    ------
    WeightsError
        If the file cannot be read.
    """
    return hashlib.sha256(_content(weights_file(weights))).hexdigest()


def weights_file(weights: str | Path) -> Path:
    """Find the file that weights mean.

    Parameters
    ----------
    weights : str or Path
        A name, a file, or the folder of a training run (`catalogue.resolve`).

    Returns
    -------
    Path
        The file; in the folder of a training run its best weights, else its last.

    Raises
    ------
    WeightsError
        If there is no such file.
    """
    path = resolve(weights)
    if os.path.isdir(path):
        found = [path / name for name in (BEST, LAST) if (path / name).is_file()]
        if not found:
            raise WeightsError(
                f"the folder {path} holds no {BEST}; the folder of a sacbnet train run was expected"
            )
        return found[0]
    return path


def check_shapes(
    what: str, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Compare the parameters of a file with those of a network.

    Parameters
    ----------
    what : str
        The file, for the message.
    found, expected : Mapping[str, tuple[int, ...]]
        Shape of each parameter by name, in the file and in the network.

    Raises
    ------
    WeightsError
        If parameters are missing, unknown or of another shape; the message names them.
    """
    problems = []
    if missing := sorted(set(expected) - set(found)):
        problems.append(f"lacks {_some(missing)}")
    if unknown := sorted(set(found) - set(expected)):
        problems.append(f"holds the unknown {_some(unknown)}")
    common = sorted(set(found) & set(expected))
    if wrong := [
        f"{name} {found[name]}, not {expected[name]}"
        for name in common
        if found[name] != expected[name]
    ]:
        problems.append(f"has the wrong shapes {_some(wrong)}")
    if problems:
        raise WeightsError(
            f"{what} {'; '.join(problems)}: it does not fit this network's configuration"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"the weights {path} cannot be read ({error.strerror}); give the path of a file"
        ) from error


def _described(path: Path, sha256: str) -> tuple[WeightsInfo, dict[str, tuple[int, ...]]]:
    """What the header says, with what the catalogue adds; the shapes of the parameters."""
    if not os.path.isfile(path):
        raise WeightsError(
            f"the weights {path} do not exist or are no file; give the path of a .safetensors file"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is no intact safetensors file ({error}); get it again, or convert a .pth"
            " checkpoint first"
        ) from error
    if metadata.get("architecture") not in architectures():
        found = metadata.get("architecture", "no architecture")
        raise WeightsError(
            f"{path} states {found}; weights of {', '.join(architectures())} were expected"
        )
    try:
        info = WeightsInfo.from_metadata(
            metadata, parameters=sum(map(prod, shapes.values())), sha256=sha256
        )
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    entry = entry_with(sha256)
    if entry is not None:
        # older files do not state `affine`; the catalogue's word on name and restrictions counts
        affine = info.affine or entry.affine
        info = replace(info, name=entry.name, affine=affine, restricted=entry.restricted)
    return info, shapes
