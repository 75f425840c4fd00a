"""What a pair needs of an engine: its network, and the options with "auto" replaced.

`estimate.estimate` runs the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from sacbnet.config.choices import AUTO, NONE, AffineKind, Box
from sacbnet.config.registration import Options
from sacbnet.errors import InputError
from sacbnet.kernels.dispatch import pick_device
from sacbnet.networks.weights.entry import Entry
from sacbnet.networks.weights.info import WeightsInfo
from sacbnet.networks.weights.load import load_weights
from sacbnet.spatial.grid import Grid

from .account import Account
from .inputs import Inputs
from .predict import Finder, as_meant
from .sizes import network_spacing
from .units import Units


@dataclass(frozen=True, eq=False)
class Engine:
    """What stays the same from pair to pair.

    Parameters
    ----------
    options : Options
        What was chosen.
    device : torch.device
        Where the work is done.
    network : Finder or None
        The network, as its weights are meant to be run; None without.
    weights : WeightsInfo or None
        What the weights say of themselves; None without.
    otherwise : Entry or None, default None
        Weights that take their place where a pair is not what they know. None: nothing does, as
        where the user chose the weights.
    """

    options: Options
    device: torch.device
    network: Finder | None = None
    weights: WeightsInfo | None = None
    otherwise: Entry | None = None


def load_engine(options: Options, otherwise: Entry | None = None) -> Engine:
    """Load the weights that the options name.

    Parameters
    ----------
    options : Options
        What was chosen; its weights are a name, a file, the folder of a training run, or "none".
    otherwise : Entry or None, default None
        Weights that may take their place.

    Returns
    -------
    Engine
        The engine.

    Raises
    ------
    InputError
        If the device is not there.
    WeightsError
        If the weights cannot be used.
    """
    device = pick_device(options.device)
    if options.weights == NONE:
        return Engine(options, device)
    network, info = load_weights(options.weights, str(device))
    return Engine(options, device, as_meant(network, info), info, otherwise)


def affine_of(engine: Engine, known: bool = False) -> AffineKind:
    """Choose the alignment before the network.

    Parameters
    ----------
    engine : Engine
        Options and weights.
    known : bool, default False
        Whether an initial transform is given, which makes an alignment needless.

    Returns
    -------
    {"none", "rigid", "affine"}
        What was chosen; else "none" after an initial transform; else what the weights need; else
        "affine".
    """
    if engine.options.affine != AUTO:
        return engine.options.affine
    if known:
        return "none"
    needed = None if engine.weights is None else engine.weights.affine
    return needed or "affine"


def options_for(engine: Engine, *, fixed: Grid, moving: Grid, known: bool = False) -> Options:
    """Put what the weights need in place of "auto".

    Parameters
    ----------
    engine : Engine
        Options and weights.
    fixed, moving : Grid
        Grids of the two images.
    known : bool, default False
        Whether an initial transform is given.

    Returns
    -------
    Options
        The options as they are taken for a pair on these grids, as run.json holds them.
    """
    o, info = engine.options, engine.weights
    affine = affine_of(engine, known)
    box: Box = "foreground" if o.box == AUTO else o.box
    trained_on_whole = info is not None and info.box == "whole"
    one_grid = fixed.is_orthogonal and fixed.matches(moving, tolerance_mm=0.01)
    if o.box == AUTO and trained_on_whole and affine == "none" and one_grid and not known:
        box = "whole"
    return replace(o, affine=affine, box=box, refine=o.steps)


def chosen_options(engine: Engine, inputs: Inputs, account: Account) -> Options:
    """Put what the weights need in place of "auto", and say so.

    Parameters
    ----------
    engine : Engine
        Options and weights.
    inputs : Inputs
        The images.
    account : Account
        Gets notes on what was chosen.

    Returns
    -------
    Options
        The options as they are taken for this pair.

    Raises
    ------
    InputError
        If the images share no place in the world and no alignment is sought.
    """
    o, info = engine.options, engine.weights
    f, m = inputs.fixed.grid, inputs.moving.grid
    known = inputs.initial is not None
    taken = options_for(engine, fixed=f, moving=m, known=known)
    affine = taken.affine
    if known:
        account.note(
            "the registration starts from the initial transform; "
            + (
                "no alignment was sought (--affine rigid or affine corrects it)"
                if affine == "none"
                else f"the alignment ({affine}) corrects it"
            )
        )
    elif o.affine == AUTO and info is not None and affine != "affine":
        account.note(
            f"affine is {affine}, as the weights {info.name} need it (choose it by --affine)"
        )
    if affine == "none" and not known and not f.meets(m):
        raise InputError(
            f"{inputs.moving.name} and {inputs.fixed.name} share no place in the world; repair the"
            " headers, or give --align centre, or --affine rigid or affine"
        )
    if o.box == AUTO and taken.box == "whole":
        account.note(
            "the whole box of the fixed image is worked on, as in the training of the weights"
            " (choose it by --box)"
        )
    return taken


def spacing_for(
    weights: WeightsInfo | None, fixed: Grid, units: Units, account: Account
) -> float | None:
    """Choose the spacing that suits the network and the body.

    Parameters
    ----------
    weights : WeightsInfo or None
        What the weights say of themselves; None without a network.
    fixed : Grid
        The grid of the fixed image, in `units`.
    units : Units
        Units of the images.
    account : Account
        Gets a note where the spacing is not that of the training.

    Returns
    -------
    float or None
        The spacing, in the unit of the fixed image; None without a network.
    """
    if weights is None or weights.spacing_mm is None:
        return None
    spacing = network_spacing(weights.spacing_mm, units, float(fixed.spacing.min()))
    in_mm = spacing * units.fixed_mm
    if not 0.99 < in_mm / weights.spacing_mm < 1.01 and units.length_mm is not None:
        account.note(
            f"the weights {weights.name} were trained at {weights.spacing_mm:g} mm; the fixed image"
            f" shows a body {units.length_mm:.3g} mm long, so the network works at {in_mm:g} mm,"
            " with about as many voxels along it as in training"
        )
    return spacing
