"""Weights on disk: one safetensors file that says what it is. torch is imported only by what needs it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from sacbnet.config.network import NetworkOptions
from sacbnet.config.registry import architectures, options_from_dict
from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.environment import VERSION
from sacbnet.errors import SacbnetError, WeightsError
from sacbnet.files import atomic_file
from sacbnet.networks.registry import build

from .catalogue import check_hash, resolve
from .shapes import parameter_shapes

if TYPE_CHECKING:
    from torch import nn

FORMAT_VERSION = 1
BEST, LAST = "best.safetensors", "last.safetensors"  # in the folder of a training run
FACTS = (
    "licence",
    "trained_on",
    "spacing_mm",
    "intensity",
    "source",
)  # what the maker of the weights has to state


def save_weights(
    path: str | Path, model: nn.Module, metadata: Mapping[str, object]
) -> dict[str, str]:
    """Write the model and return the whole metadata block written.

    metadata must state licence, trained_on, spacing_mm (voxel spacing of the inputs, mm), intensity (the convention
    expected of the inputs) and source; it may state more. Values that are not text are written as JSON. The file
    appears whole or not at all. Raises WeightsError for missing facts, OutputError where it cannot be written.
    """
    from safetensors.torch import save

    if missing := [fact for fact in FACTS if fact not in metadata]:
        raise WeightsError(
            f"the metadata lack {', '.join(missing)}; weights must state {', '.join(FACTS)}"
        )
    text = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in metadata.items()
    }
    config: Any = model.config  # as every network of `architectures` has
    text |= {
        "format_version": str(FORMAT_VERSION),
        "architecture": config.architecture,
        "config": json.dumps(config.to_dict()),
        "sacbnet_version": VERSION,
    }
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    with atomic_file(path) as part:
        part.write_bytes(save(state, metadata=text))
    return text


def load_weights(weights: str | Path, device: str = "cpu") -> tuple[nn.Module, dict[str, str]]:
    """The model, in evaluation mode on `device`, and the file's metadata with the `sha256` of what was loaded.

    weights: a name, a file, or the folder of a run (`catalogue.resolve`). Raises WeightsError for a name that is not
    known, and for a file that is missing, damaged (of the catalogue: has another hash), of another architecture or
    newer format, or whose parameters do not fit its own configuration or are not finite.
    """
    import torch
    from safetensors.torch import load

    path = weights_file(weights)
    content = _content(path)
    sha256 = hashlib.sha256(content).hexdigest()
    check_hash(path, sha256)
    metadata, shapes = _header(path)
    with torch.device("meta"):
        model = build(_config(path, metadata))
    check_shapes(
        str(path), shapes, {name: tuple(p.shape) for name, p in model.state_dict().items()}
    )
    state = load(content)
    if bad := [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]:
        raise WeightsError(
            f"{path} holds NaN or infinite values in {_some(bad)}; get the file again"
        )
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return model.requires_grad_(True).to(device).eval(), metadata | {"sha256": sha256}


def describe_weights(weights: str | Path) -> dict[str, Any]:
    """The file's metadata, its config as a dict, `parameters` (count) and `sha256`; imports no torch.

    Raises WeightsError as load_weights does, but looks neither at the values nor at what the catalogue expects.
    """
    path = weights_file(weights)
    metadata, shapes = _header(path)
    config = _config(path, metadata).to_dict()
    count = sum(prod(shape) for shape in shapes.values())
    return {**metadata, "config": config, "parameters": count, "sha256": weights_hash(path)}


def check_weights(weights: str | Path) -> str:
    """The file's sha256, where load_weights would take it but for values that are not finite.

    For a SACB-Net torch is not imported.

    Raises WeightsError where it would not.
    """
    path = weights_file(weights)
    sha256 = weights_hash(path)
    check_hash(path, sha256)
    metadata, shapes = _header(path)
    check_shapes(str(path), shapes, _expected(_config(path, metadata)))
    return sha256


def _expected(config: NetworkOptions) -> Mapping[str, tuple[int, ...]]:
    """Name and shape of each parameter."""
    if isinstance(config, SACBNetConfig):
        return parameter_shapes(config)
    import torch

    with torch.device("meta"):
        return {name: tuple(p.shape) for name, p in build(config).state_dict().items()}


def weights_hash(weights: str | Path) -> str:
    """sha256 of the file, hexadecimal. Raises WeightsError if it cannot be read."""
    return hashlib.sha256(_content(weights_file(weights))).hexdigest()


def weights_file(weights: str | Path) -> Path:
    """The file that `weights` mean (`catalogue.resolve`): in the folder of a training run its best, else its last."""
    path = resolve(weights)
    if path.is_dir():
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
    """Raise WeightsError that names the parameters missing from, unknown to, or of another shape than expected."""
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


def _header(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    if not path.is_file():
        raise WeightsError(
            f"the weights {path} do not exist or are no file; give the path of a .safetensors file"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is no intact safetensors file ({error}); get it again, or convert a .pth checkpoint first"
        ) from error
    if metadata.get("architecture") not in architectures():
        found = metadata.get("architecture", "no architecture")
        raise WeightsError(
            f"{path} states {found}; weights of {', '.join(architectures())} were expected"
        )
    return metadata, shapes


def _config(path: Path, metadata: Mapping[str, str]) -> NetworkOptions:
    version = metadata.get("format_version", "")
    if not version.isdecimal() or int(version) > FORMAT_VERSION:
        raise WeightsError(
            f"{path} has format {version or 'unstated'}; up to {FORMAT_VERSION} is read: update sacbnet"
        )
    try:
        return options_from_dict(metadata["architecture"], json.loads(metadata["config"]))
    except (KeyError, ValueError, TypeError, SacbnetError) as error:
        raise WeightsError(
            f"{path} has no usable configuration ({error}); get the file again"
        ) from error
