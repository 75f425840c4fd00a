"""From the authors' published checkpoints to this package's weights file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.errors import InputError, WeightsError
from sacbnet.io.torch_files import load_torch
from sacbnet.networks.sacbnet.network import SACBNet

from .info import WeightsInfo
from .load import check_shapes, save_weights

UNKNOWN_LICENCE = "unknown: the publisher states no licence"

# official name -> ours; numbers of levels and layers are shifted where the two count differently
_RENAME: list[tuple[str, Any]] = [
    (r"encoder\.conv0\.(\d)\.conv\.(\w+)", lambda m: f"encoder.level1.{m[1]}.0.{m[2]}"),
    (
        r"encoder\.conv([1-4])\.(\d)\.conv\.(\w+)",
        lambda m: f"encoder.level{int(m[1]) + 1}.{m[2]}.0.{m[3]}",
    ),
    (r"sacb_proj([2-5])\.w", r"sacb\1.kernel"),
    (r"sacb_proj([2-5])\.get_kernel\.(\d)\.(\w+)", r"sacb\1.to_taps.\2.\3"),
    (r"sacb_proj([2-5])\.get_bias\.(\d)\.(\w+)", r"sacb\1.to_bias.\2.\3"),
    (r"sacb_proj([2-5])\.proj_in\.conv\.(\w+)", r"sacb\1.project.0.\2"),
    (r"conv1\.([12])\.conv\.(\w+)", lambda m: f"refine.{int(m[1]) - 1}.0.{m[2]}"),
    (r"conv1_out\.([12])\.conv\.(\w+)", lambda m: f"head.{int(m[1]) - 1}.0.{m[2]}"),
    (r"conv1_out\.3\.conv\.(\w+)", r"head.2.\1"),
]


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    config: SACBNetConfig | None = None,
    licence: str = UNKNOWN_LICENCE,
    trained_on: str = "unknown",
    spacing_mm: str = "unknown",
    intensity: str = "unknown",
) -> WeightsInfo:
    """Convert a published checkpoint (.pth, .pth.tar) to safetensors.

    The file is read without executing anything in it. It holds {'state_dict': ...} or a bare state
    dict, with or without `module.` prefixes and the sampling grids (`*.grid`), which are dropped.

    Parameters
    ----------
    source : str or Path
        The checkpoint.
    target : str or Path
        The .safetensors file to write.
    config : SACBNetConfig or None, default None
        Options of the network; the checkpoint states no numbers of clusters. None: the published
        network.
    licence, trained_on, spacing_mm, intensity : str
        What is known of the weights.

    Returns
    -------
    WeightsInfo
        What the new file says of itself.

    Raises
    ------
    WeightsError
        If the file cannot be read, or if its parameters are not exactly those of the
        configuration; the message names them.
    OutputError
        If the new file cannot be written.
    """
    state = from_official(_read(Path(source)), str(source))
    # on "meta" no start values are drawn: torch's global random state stays as it is
    with torch.device("meta"):
        model = SACBNet(config)
    expected = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    check_shapes(str(source), {name: tuple(p.shape) for name, p in state.items()}, expected)
    model.load_state_dict(state, assign=True)
    facts = {
        "licence": licence,
        "trained_on": trained_on,
        "spacing_mm": spacing_mm,
        "intensity": intensity,
    }
    return save_weights(target, model, {**facts, "source": f"converted from {Path(source).name}"})


def from_official(state: Mapping[str, Tensor], what: str = "the checkpoint") -> dict[str, Tensor]:
    """Rename the parameters of a published state dict to SACBNet's.

    Parameters
    ----------
    state : Mapping[str, Tensor]
        Parameters by their published names. Sampling grids are dropped.
    what : str, default "the checkpoint"
        What it is, for the message.

    Returns
    -------
    dict[str, Tensor]
        The parameters by SACBNet's names.

    Raises
    ------
    WeightsError
        If a name is unknown; the message names every such name.
    """
    out, unknown = {}, []
    for name, tensor in state.items():
        name = name.removeprefix("module.")
        if name.endswith(".grid"):
            continue
        for pattern, ours in _RENAME:
            if match := re.fullmatch(pattern, name):
                out[match.expand(ours) if isinstance(ours, str) else ours(match)] = tensor
                break
        else:
            unknown.append(name)
    if unknown:
        raise WeightsError(
            f"{what} holds keys that no SACB-Net checkpoint has: {', '.join(sorted(unknown))}"
        )
    return out


def _read(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of torch.save; nothing in the file is executed."""
    if not os.path.isfile(path):
        raise WeightsError(
            f"the checkpoint {path} does not exist or is no file; give the path of a .pth file"
        )
    # training scripts store their best score beside the weights, as a NumPy scalar: it is
    # harmless, but not on torch's list
    scalar: Any = np.float64(0).__reduce__()[0]
    allowed = [
        scalar,
        (scalar, "numpy.core.multiarray.scalar"),
        np.dtype,
        *map(type, map(np.dtype, ("f4", "f8"))),
    ]
    try:
        content = load_torch(path, allowed)
    except InputError as error:
        raise WeightsError(
            f"the checkpoint {path} cannot be read ({error}); get the file again"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(v, Tensor) for v in content.values())
    ):
        raise WeightsError(
            f"{path} holds no state dict; a dict of tensors, or one under 'state_dict', was"
            " expected"
        )
    return content
