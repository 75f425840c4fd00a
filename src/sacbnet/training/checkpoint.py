"""Checkpoints: all that a run needs to go on exactly where it was."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sacbnet.config.recipe import Recipe, recipe_from_dict, same_training
from sacbnet.data.pack import Pack
from sacbnet.errors import InputError
from sacbnet.files import atomic_file

CHECKPOINT = "checkpoint.pt"
FORMAT_VERSION = 1


@dataclass
class State:
    """How far a run is. step: optimiser steps done. samples follow from it. best: the best validation and its step.
    baseline: the validation before training (the identity). seconds: of training so far, over all sessions. sums: of
    the terms of the loss over the `summed` steps since the last row of metrics.csv. longest: the longest step so far in
    seconds, with the validation and the checkpoint that may belong to it."""

    step: int = 0
    seconds: float = 0.0
    sessions: int = 1
    baseline: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0
    longest: float = 0.0


def save_checkpoint(
    folder: Path,
    recipe: Recipe,
    pack: Pack,
    state: State,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Written aside and moved into place, so that the file under its name is always whole. OutputError if it fails."""
    content = {
        "format_version": FORMAT_VERSION,
        "recipe": recipe.to_dict(),
        "data": fingerprint(pack),
        "state": vars(state),
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        # samples and augmentation are functions of seed and step; these are for networks that draw, as by dropout
        "random": [
            torch.get_rng_state(),
            *(torch.cuda.get_rng_state(device) for device in _cuda_of(network)),
        ],
    }
    with atomic_file(folder / CHECKPOINT) as path:
        torch.save(content, path)


def load_checkpoint(
    folder: Path, recipe: Recipe, pack: Pack, network: nn.Module, optimiser: torch.optim.Optimizer
) -> State | None:
    """Put network, optimiser and random states back; None where the folder has no checkpoint.

    InputError where it was made with other data, or another recipe (but for names, steps, and what does not change
    the result).
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    content = read_checkpoint(path)
    before = recipe_from_dict(content["recipe"])
    if changed := same_training(before, recipe):
        raise InputError(
            f"{folder} was trained with another recipe ({', '.join(changed)} differ); choose another --out, or the "
            "recipe in that folder"
        )
    if content["data"] != fingerprint(pack):
        raise InputError(
            f"{folder} was trained on other data than {pack.path}; choose another --out, or the data it had"
        )
    network.load_state_dict(content["network"])
    optimiser.load_state_dict(content["optimiser"])
    torch.set_rng_state(content["random"][0])
    for device, cuda in zip(_cuda_of(network), content["random"][1:], strict=False):
        torch.cuda.set_rng_state(cuda, device)
    state = State(**content["state"])
    return replace(state, sessions=state.sessions + 1)


def fingerprint(pack: Pack) -> str:
    """Says whether two packs are the same data: cases, pairs, grid, options, and the first image's voxels."""
    facts = ("names", "pairs", "label_values", "labelled", "affine", "options")
    found = hashlib.sha256(json.dumps([pack.metadata[name] for name in facts]).encode())
    found.update(pack.image(0).numpy().tobytes())
    return found.hexdigest()


def _cuda_of(network: nn.Module) -> list[torch.device]:
    """The CUDA device of a network, as a list that may be empty."""
    return sorted({p.device for p in network.parameters() if p.device.type == "cuda"}, key=str)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint file; nothing in it is executed. InputError for what is none."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if content["format_version"] > FORMAT_VERSION:
            raise InputError(
                f"{path} has format {content['format_version']}; up to {FORMAT_VERSION} is read: update"
            )
        return content
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or ["empty"])[0][:120]
        raise InputError(
            f"{path} is no checkpoint of sacbnet train ({reason}); remove it to begin anew"
        ) from error
