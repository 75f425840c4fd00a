"""The engine: from two images to the transform between them.

`register`, `evaluate` and `benchmark` all run this engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from sacbnet.config.choices import AUTO, AffineKind, Box
from sacbnet.config.registration import Options
from sacbnet.config.validation import cut
from sacbnet.errors import InputError, RegistrationError
from sacbnet.kernels.cpu.memory import release_memory
from sacbnet.kernels.dispatch import kernels_for
from sacbnet.networks.sacbnet.seen import Seen, watching
from sacbnet.networks.weights.info import WeightsInfo
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField
from sacbnet.spatial.warp import compose, warp

from .account import Account
from .convex import convex_start
from .deliver import Repair, deliver
from .initial import Start, start_from
from .inputs import Inputs
from .landmarks import Landmarks
from .memory import check_memory
from .predict import Finder, predict
from .prepare import Pair, prepare
from .refine import Guide, LevelReport, improves, refine
from .sameness import aligned_already
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
    """

    options: Options
    device: torch.device
    network: Finder | None = None
    weights: WeightsInfo | None = None


@dataclass(frozen=True, eq=False)
class Estimate:
    """The transform between two images, and how it was found.

    Parameters
    ----------
    transform : DisplacementField
        World coordinates of the fixed image -> world coordinates of the moving image, on the
        fixed grid, affine included.
    affine : Affine
        The affine part alone.
    pair : Pair
        Both images as the engine took them.
    options : Options
        What was chosen, with `affine` and `box` as they were taken for this pair.
    repair : Repair or None
        What the repair of folds changed.
    levels : tuple[LevelReport, ...]
        What each level of the refinement did.
    seen : Seen
        What the network saw.
    """

    transform: DisplacementField
    affine: Affine
    pair: Pair
    options: Options
    repair: Repair | None
    levels: tuple[LevelReport, ...]
    seen: Seen


def estimate(
    engine: Engine, inputs: Inputs, account: Account | None = None, units: Units | None = None
) -> Estimate:
    """Find the transform between two images.

    Parameters
    ----------
    engine : Engine
        Network, device and options.
    inputs : Inputs
        The images, as they were read, in `units`.
    account : Account or None, default None
        Collects seconds, notes and warnings.
    units : Units or None, default None
        Units of the images; None: mm.

    Returns
    -------
    Estimate
        The transform, and how it was found, in these units.

    Raises
    ------
    InputError
        If the images cannot be worked on so.
    MemoryShortageError
        If the memory that is left cannot be enough.
    RegistrationError
        If a displacement is not finite.
    """
    account, units = account or Account(), units or Units()
    inputs.check_size()
    o = _chosen(engine, inputs, account)
    with account.stage("kernels"):
        kernels_for(engine.device)  # compiles them the first time
    with account.stage("prepare", told=False):
        upright = inputs.canonical()
        pair = prepare(
            upright,
            spacing=None if o.spacing is None else o.spacing / units.fixed_mm,
            of_network=_network_spacing(engine.weights, inputs.fixed.grid, units, account),
            refined=o.refinement is not None,
            box=o.box,  # type: ignore[arg-type]
        )
    if engine.device.type == "cpu":
        check_memory(
            pair,
            fixed=inputs.fixed.grid,
            moving=inputs.moving.grid,
            network=engine.network is not None,
            refined=o.refinement is not None,
        )
    for image in (upright.fixed, upright.moving):
        account.note(*image.scaling.notes)
        account.warn(*image.scaling.warnings)
    affine = Affine()
    levels: tuple[LevelReport, ...] = ()
    if inputs.contrasts and o.refinement is None:
        account.warn(
            "the further contrasts have no say: without refinement they are not compared (choose"
            " --preset balanced)"
        )
    more = inputs.landmarks is not None or bool(inputs.contrasts)
    wanted = more or "clusters" in o.save
    with account.stage("prepare", told=False):
        known = inputs.initial is not None
        same = not (wanted or known) and aligned_already(upright.fixed, upright.moving)
    if same:
        account.note(
            "the headers already bring the images together, up to their noise: the transform is"
            " the identity"
        )
        u, seen = torch.zeros(1, 3, *pair.grid.shape), Seen()
    else:
        with account.stage("affine"):
            kind: AffineKind = o.affine  # type: ignore[assignment]
            start = start_from(inputs.initial, pair, kind, account)
            affine = start.affine
        guide = _guide(inputs.landmarks, pair, affine, engine, account)
        with watching(engine.network) as seen:
            u, levels = _displacement(engine, pair, start, o, account, guide)
    with account.stage("transform"):
        transform, repair = deliver(
            u[0].float().cpu(), pair.grid, affine, inputs.fixed.grid, o.repair
        )
    return Estimate(transform, affine, pair, o, repair, levels, seen)


def _network_spacing(
    weights: WeightsInfo | None, fixed: Grid, units: Units, account: Account
) -> float | None:
    """The spacing that suits the network and the body, in the unit of the fixed image."""
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


def _chosen(engine: Engine, inputs: Inputs, account: Account) -> Options:
    """The options with what the weights need in place of "auto"; a note says so."""
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


def _guide(
    landmarks: Landmarks | None, pair: Pair, affine: Affine, engine: Engine, account: Account
) -> Guide | None:
    """The landmarks on the working grid, those of the moving image taken back by the affine."""
    if landmarks is None:
        return None
    if landmarks.left_out:
        account.warn(
            f"{len(landmarks.left_out)} landmarks have no partner in the other image and are left"
            f" out ({cut(', '.join(landmarks.left_out))})"
        )
    if engine.options.refinement is None:
        account.warn(
            "the landmarks only measure the result: without refinement they do not guide it"
            " (choose --preset balanced)"
        )
    inside = pair.grid.contains(landmarks.fixed)
    if not inside.any():
        raise InputError(
            "no landmark of the fixed image lies on what is registered of it; landmarks are in mm,"
            " LPS in files"
        )
    places = landmarks.fixed[inside], affine.inverse(landmarks.moving[inside])
    return Guide(*(torch.from_numpy(pair.grid.voxels(p)).float().to(engine.device) for p in places))


def _displacement(
    engine: Engine, pair: Pair, start: Start, o: Options, account: Account, guide: Guide | None
) -> tuple[torch.Tensor, tuple[LevelReport, ...]]:
    """The displacement that remains after the affine, and the report of each level of refinement.

    The displacement has the shape (1, 3, i, j, k), in voxels of the working grid.
    """
    device, network = engine.device, engine.network
    with account.stage("prepare", told=False):
        fixed, moving, fixed_mask, moving_mask = pair.tensors(start.affine, device)
    known = None if start.u_vox is None else start.u_vox.to(device)
    u = torch.zeros(1, 3, *pair.grid.shape, device=device) if known is None else known
    if network is not None:
        half = torch.autocast(device.type, torch.bfloat16, enabled=o.precision == "bfloat16")
        with account.stage("network"), torch.no_grad(), half:
            seen = moving[:, :1] if known is None else warp(moving[:, :1], known)
            u = predict(network, fixed=fixed[:, :1], moving=seen, factor=pair.factor)
            if known is not None:
                u = compose(known, u.float(), padding="border")
        finite(u, "the network's displacement", "these weights do not suit these images")
        release_memory()
    if not engine.options.refinement:
        return u, ()
    refinement = engine.options.refinement
    with account.stage("refine", told=False):
        given: Any = {
            "fixed": fixed,
            "moving": moving,
            "fixed_mask": fixed_mask,
            "moving_mask": moving_mask,
        }
        helps = network is not None and improves(u, than=known, options=refinement, **given)
        if network is not None and not helps:
            account.warn(
                "the network's displacement was worse than none and is not used: its weights do"
                " not suit these images"
            )
        if not helps and known is not None:
            u = known
            if not improves(u, options=refinement, **given):
                account.doubt(
                    "the initial transform makes the images less alike than its affine part does"
                )
        elif not helps:
            first = given | {"fixed": fixed[:, :1], "moving": moving[:, :1]}
            u = convex_start(**first)
            if not improves(u, options=refinement, **given):
                u = torch.zeros_like(u)
        u, levels = refine(
            options=refinement,
            start_vox=u,
            guide=guide,
            progress=lambda done, total, loss: account.progress("refine", done / total),
            **given,
        )
    return finite(u, "the refined displacement", "check the images' intensities"), levels


def finite(u: torch.Tensor, what: str, remedy: str) -> torch.Tensor:
    """Refuse a displacement that is not finite.

    Parameters
    ----------
    u : Tensor
        A displacement.
    what, remedy : str
        What it is, and what to do, for the message.

    Returns
    -------
    Tensor
        `u` itself.

    Raises
    ------
    RegistrationError
        If a value is NaN or infinite.
    """
    if not bool(torch.isfinite(u).all()):
        raise RegistrationError(f"{what} is not finite; nothing was written: {remedy}")
    return u
