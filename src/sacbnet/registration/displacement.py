"""The displacement beyond the affine: by the network, by refinement, or by both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sacbnet.config.registration import Options, RefineOptions
from sacbnet.errors import RegistrationError
from sacbnet.kernels.cpu.memory import release_memory
from sacbnet.spatial.warp import compose, warp

from .account import Account
from .convex import convex_start
from .engine import Engine
from .initial import Start
from .predict import predict
from .prepare import Pair
from .refine import Guide, LevelReport, improves, refine


class UnsuitedError(Exception):
    """The network's displacement is worse than none, and other weights may take its place."""


def displacement(
    engine: Engine, pair: Pair, start: Start, o: Options, account: Account, guide: Guide | None
) -> tuple[Tensor, tuple[LevelReport, ...]]:
    """Find the displacement that remains after the affine.

    Parameters
    ----------
    engine : Engine
        Network, device and options.
    pair : Pair
        Both images as the engine takes them.
    start : Start
        The affine, and the displacement that is known beyond it.
    o : Options
        The options as they are taken for this pair.
    account : Account
        Collects seconds, notes and warnings.
    guide : Guide or None
        Landmarks that pull the refinement.

    Returns
    -------
    displacement_vox : Tensor, shape (1, 3, i, j, k)
        The displacement, in voxels of the working grid.
    levels : tuple[LevelReport, ...]
        What each level of the refinement did.

    Raises
    ------
    RegistrationError
        If a displacement is not finite.
    UnsuitedError
        If the network's displacement is worse than none, and `engine.otherwise` may take its place.
    """
    device, network, refinement = engine.device, engine.network, engine.options.refinement
    with account.stage("prepare", told=False):
        fixed, moving, fixed_mask, moving_mask = pair.tensors(start.affine, device)
    known = None if start.u_vox is None else start.u_vox.to(device)
    u = torch.zeros(1, 3, *pair.grid.shape, device=device) if known is None else known
    given: Any = {
        "fixed": fixed,
        "moving": moving,
        "fixed_mask": fixed_mask,
        "moving_mask": moving_mask,
    }
    helps = False
    if network is not None:
        half = torch.autocast(device.type, torch.bfloat16, enabled=o.precision == "bfloat16")
        with account.stage("network"), torch.no_grad(), half:
            seen = moving[:, :1] if known is None else warp(moving[:, :1], known)
            u = predict(network, fixed=fixed[:, :1], moving=seen, factor=pair.factor)
            if known is not None:
                u = compose(known, u.float(), padding="border")
        finite(u, "the network's displacement", "these weights do not suit these images")
        release_memory()
        if refinement is not None or engine.otherwise is not None:
            with account.stage("network"):
                measured = refinement or RefineOptions()
                helps = improves(u, than=known, options=measured, **given)
            if not helps and engine.otherwise is not None:
                raise UnsuitedError
    if refinement is None:
        return u, ()
    with account.stage("refine", told=False):
        if not helps:
            u = _without_network(given, refinement, known, account, network is not None)
        u, levels = refine(
            options=refinement,
            start_vox=u,
            guide=guide,
            progress=lambda done, total, loss: account.progress("refine", done / total),
            **given,
        )
    return finite(u, "the refined displacement", "check the images' intensities"), levels


def _without_network(
    given: Any, refinement: RefineOptions, known: Tensor | None, account: Account, tried: bool
) -> Tensor:
    """The start of the refinement where no network helps."""
    if tried:
        account.warn(
            "the network's displacement was worse than none and is not used: its weights do not"
            " suit these images"
        )
    if known is not None:
        if not improves(known, options=refinement, **given):
            account.doubt(
                "the initial transform makes the images less alike than its affine part does"
            )
        return known
    first = given | {"fixed": given["fixed"][:, :1], "moving": given["moving"][:, :1]}
    u = convex_start(**first)
    return u if improves(u, options=refinement, **given) else torch.zeros_like(u)


def finite(u: Tensor, what: str, remedy: str) -> Tensor:
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
