"""The engine: from two images to the transform between them.

`register`, `evaluate` and `benchmark` all run this engine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sacbnet.config.choices import AffineKind
from sacbnet.config.registration import Options
from sacbnet.config.validation import cut
from sacbnet.errors import InputError
from sacbnet.kernels.dispatch import kernels_for
from sacbnet.networks.sacbnet.seen import Seen, watching
from sacbnet.spatial.transforms import Affine, DisplacementField

from .account import Account
from .deliver import Repair, deliver
from .displacement import displacement
from .engine import Engine, chosen_options, spacing_for
from .initial import start_from
from .inputs import Inputs
from .landmarks import Landmarks
from .memory import check_memory
from .pace import Work, forecast, work_of
from .prepare import Pair, prepare
from .refine import Guide, LevelReport
from .sameness import aligned_already
from .units import Units


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
    work : Work
        What there was to do, for the time of later runs.
    """

    transform: DisplacementField
    affine: Affine
    pair: Pair
    options: Options
    repair: Repair | None
    levels: tuple[LevelReport, ...]
    seen: Seen
    work: Work


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
    o = chosen_options(engine, inputs, account)
    with account.stage("kernels"):
        kernels_for(engine.device)  # loads them
    with account.stage("prepare", told=False):
        upright = inputs.canonical()
        pair = prepare(
            upright,
            spacing=None if o.spacing is None else o.spacing / units.fixed_mm,
            of_network=spacing_for(engine.weights, inputs.fixed.grid, units, account),
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
    work = work_of(engine, o, inputs, pair)
    account.expect(str(forecast(work)))
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
            u, levels = displacement(engine, pair, start, o, account, guide)
    with account.stage("transform"):
        transform, repair = deliver(
            u[0].float().cpu(), pair.grid, affine, inputs.fixed.grid, o.repair
        )
    return Estimate(transform, affine, pair, o, repair, levels, seen, work)


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
