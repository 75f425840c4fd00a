"""Checkpoints: everything that a run needs to go on exactly where it stopped."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sacbnet.config.recipe import Recipe, recipe_from_dict, same_training
from sacbnet.data.pack import Pack
from sacbnet.errors import InputError
from sacbnet.files import atomic_file
from sacbnet.io.torch_files import load_torch

CHECKPOINT = "checkpoint.pt"
FORMAT_VERSION = 1


@dataclass
class State:
    """How far a run is. The next samples follow from the step.

    Parameters
    ----------
    step : int, default 0
        Optimiser steps that are done.
    seconds : float, default 0
        Time of training so far, over all sessions.
    sessions : int, default 1
        Number of sessions, with the present one.
    baseline : dict
        Scores of the validation before training, of the identity.
    best : dict
        Scores of the best validation, and its "step".
    warnings : list of str
        Warnings that still hold.
    sums : dict
        Sums of the terms of the loss since the last row of metrics.csv.
    summed : int, default 0
        Number of steps in these sums.
    longest : float, default 0
        Longest step so far in seconds, with the validation and the checkpoint that may belong to
        it.
    """

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
    """Write a checkpoint. The file under its name is whole at any time.

    Parameters
    ----------
    folder : Path
        The run folder.
    recipe : Recipe
        The options of the run.
    pack : Pack
        The packed set; its fingerprint is stored.
    state : State
        How far the run is.
    network : nn.Module
        The network; its parameters are stored.
    optimiser : torch.optim.Optimizer
        The optimiser; its state is stored.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "recipe": recipe.to_dict(),
        "data": fingerprint(pack),
        "state": vars(state),
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        # samples and augmentation are functions of seed and step; these states are for networks
        # that draw random numbers, as dropout does
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
    """Load a checkpoint into network, optimiser and random states.

    Parameters
    ----------
    folder : Path
        The run folder.
    recipe : Recipe
        The options. Options that do not change the weights may differ (`same_training`).
    pack : Pack
        The packed set.
    network : nn.Module
        Gets the stored parameters.
    optimiser : torch.optim.Optimizer
        Gets the stored state.

    Returns
    -------
    State or None
        How far the run is, with one more session; None where the folder has no checkpoint.

    Raises
    ------
    InputError
        For a checkpoint of another recipe or of other data, or a file that is no checkpoint.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    content = read_checkpoint(path)
    try:
        return _restored(content, folder, recipe, pack, network, optimiser)
    except InputError:
        raise
    except Exception as error:  # contents that lie can make many kinds of errors
        raise InputError(
            f"{path} is no whole checkpoint of this training ({type(error).__name__}); remove it to"
            " begin anew"
        ) from error


def _restored(
    content: dict[str, Any],
    folder: Path,
    recipe: Recipe,
    pack: Pack,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> State:
    before = recipe_from_dict(content["recipe"])
    if changed := same_training(before, recipe):
        raise InputError(
            f"{folder} was trained with another recipe ({', '.join(changed)} differ); choose"
            " another --out, or the recipe in that folder"
        )
    if content["data"] != fingerprint(pack):
        raise InputError(
            f"{folder} was trained on other data than {pack.path}; choose another --out, or the"
            " data of that run"
        )
    network.load_state_dict(content["network"])
    optimiser.load_state_dict(content["optimiser"])
    torch.set_rng_state(content["random"][0])
    for device, cuda in zip(_cuda_of(network), content["random"][1:], strict=False):
        torch.cuda.set_rng_state(cuda, device)
    state = State(**content["state"])
    return replace(state, sessions=state.sessions + 1)


def fingerprint(pack: Pack) -> str:
    """Tell packed sets apart.

    Parameters
    ----------
    pack : Pack
        The packed set.

    Returns
    -------
    str
        A hash of cases, pairs, grid, options and the voxels of the first image. Two sets of the
        same data have the same hash.
    """
    facts = ("names", "pairs", "label_values", "labelled", "affine", "options")
    found = hashlib.sha256(json.dumps([pack.metadata[name] for name in facts]).encode())
    found.update(pack.image(0).numpy().tobytes())
    return found.hexdigest()


def _cuda_of(network: nn.Module) -> list[torch.device]:
    """The CUDA device of a network, as a list that may be empty."""
    return sorted({p.device for p in network.parameters() if p.device.type == "cuda"}, key=str)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the content of a checkpoint. Nothing in the file is executed.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        What `save_checkpoint` stored.

    Raises
    ------
    InputError
        For a file that is no checkpoint, or of a newer version.
    """
    try:
        content: dict[str, Any] = load_torch(path)
        newer = content["format_version"] > FORMAT_VERSION
    except (KeyError, TypeError, InputError) as error:
        raise InputError(
            f"{path} is no checkpoint of sacbnet train ({error}); remove it to begin anew"
        ) from error
    if newer:
        raise InputError(
            f"{path} has format {content['format_version']}; up to {FORMAT_VERSION} was expected:"
            " update sacbnet"
        )
    return content
