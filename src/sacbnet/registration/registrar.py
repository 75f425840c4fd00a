"""Register a moving image to a fixed one: the pipeline, from images in any grid to a transform in the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch

from sacbnet.config.choices import DEFAULT
from sacbnet.config.registration import Options
from sacbnet.environment import environment, peak_memory_mb
from sacbnet.errors import RegistrationError
from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import carry
from sacbnet.io.images import ImageSource
from sacbnet.kernels.cpu.memory import release_memory
from sacbnet.kernels.dispatch import kernels_for, pick_device
from sacbnet.metrics.folding import folding
from sacbnet.networks.sacbnet.seen import watching
from sacbnet.networks.weights import catalogue
from sacbnet.networks.weights.load import load_weights
from sacbnet.spatial.invert import invert
from sacbnet.spatial.transforms import Affine

from .account import FORMAT_VERSION, Account, describe_image
from .affine import align
from .deliver import deliver, inverse_grid, round_trip
from .inputs import Inputs, read_inputs
from .maps import maps
from .measure import measure
from .predict import Network, as_meant, predict
from .prepare import Pair, prepare
from .refine import LevelReport, improves, refine
from .result import UNCERTAINTY, Registration
from .verdict import refuse_worse

Progress = Callable[[str, float], None]  # (stage, fraction of it that is done)


def register(
    fixed: ImageSource,
    moving: ImageSource,
    *,
    fixed_mask: ImageSource | None = None,
    moving_mask: ImageSource | None = None,
    fixed_labels: ImageSource | None = None,
    moving_labels: ImageSource | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Registration:
    """Register `moving` to `fixed`.

    Images, masks and labels: paths, nibabel or SimpleITK images, or pairs (array (i, j, k), affine to mm RAS). Masks
    (inside is where they are not 0) and labels lie on the grid of their image. options: the fields of `Options`.
    progress(stage, fraction) is called as the work goes on.

    Success: moved(p) = moving(transform(p)) on fixed's own grid, no less like fixed than at the start. Raises
    InputError or GridError for images that cannot be used, WeightsError, and RegistrationError where the result would
    be worse than the start or is not finite.
    """
    chosen = Options(**options)
    if chosen.weights == DEFAULT:
        chosen = replace(chosen, weights=catalogue.default())
    account = Account()
    with account.stage("read"):
        inputs = read_inputs(fixed, moving, fixed_mask, moving_mask, fixed_labels, moving_labels)
    for image in (inputs.fixed, inputs.moving):
        account.warn(*image.warnings)
    return _register(inputs, chosen, account, progress or (lambda stage, fraction: None))


def _register(inputs: Inputs, o: Options, account: Account, progress: Progress) -> Registration:
    device = pick_device(o.device)
    network, metadata = load_network(o.weights, device)
    if metadata is not None and (notice := catalogue.licence_notice(metadata)):
        account.warn(notice)

    progress("kernels", 0.0)
    with account.stage("kernels"):
        kernels_for(device)  # compiles them the first time
    with account.stage("prepare"):
        pair = prepare(inputs.canonical(), o.spacing, metadata, o.refinement is not None)
    progress("affine", 0.0)
    with account.stage("affine"):
        affine = align(pair.fixed, pair.moving, o.affine)

    with watching(network, o.save_uncertainty) as seen:
        u, levels = displacement(pair, affine, network, o, device, account, progress)

    progress("transform", 0.0)
    with account.stage("transform"):
        transform, repair = deliver(u[0].cpu(), pair.grid, affine, inputs.fixed.grid)
    progress("measure", 0.0)
    with account.stage("measure"):
        measured = measure(inputs, pair, affine, transform)
        refuse_worse(measured["similarity"])
    progress("inverse", 0.0)
    with account.stage("inverse"):
        inverse = invert(
            transform,
            transform.grid,
            inverse_grid(inputs.moving.grid, transform, pair.spacing),
            affine,
        )
    progress("resample", 0.0)
    with account.stage("resample"):
        moved = carry(inputs.moving, inputs.fixed, transform, "linear")
        labels = inputs.moving_labels
        moved_labels = None if labels is None else carry(labels, inputs.fixed, transform, "nearest")

        extra = maps(
            seen,
            pair,
            inputs.fixed,
            {"clusters": o.save_clusters, "uncertainty": o.save_uncertainty},
        )
    _warn_of_maps(account, o, extra)

    with account.stage("measure"):
        measured["folding"] = asdict(folding(transform)) | {"repair": repair}
        measured["inverse"] = round_trip(transform, inverse)
    _warn(account, o, measured)
    report = {
        "format_version": FORMAT_VERSION,
        "environment": environment(device, kernels_for(device)),
        "options": asdict(o) | {"refine": o.steps},
        "working_grid": {
            "spacing_mm": pair.spacing,
            "shape": list(pair.grid.shape),
            "network_spacing_mm": None if network is None else pair.spacing * pair.factor,
        },
        "fixed": describe_image(inputs.fixed),
        "moving": describe_image(inputs.moving),
        "weights": {"name": "none"} if metadata is None else metadata,
        **measured,
        "clusters": seen.numbers(),
        "refinement": [asdict(level) for level in levels],
        "seconds": account.summary(),
        "peak_memory_mb": peak_memory_mb(device),
        "warnings": account.warnings,
    }
    return Registration(moved, transform, inverse.field, affine, moved_labels, report, extra)


def load_network(
    weights: str, device: torch.device
) -> tuple[Network | None, dict[str, str] | None]:
    """The network as its weights are to be run, and their metadata; None and None for "none"."""
    if weights == "none":
        return None, None
    network, metadata = load_weights(weights, str(device))
    return as_meant(network, metadata), metadata


def displacement(
    pair: Pair,
    affine: Affine,
    network: Network | None,
    o: Options,
    device: torch.device,
    account: Account,
    progress: Progress,
) -> tuple[torch.Tensor, tuple[LevelReport, ...]]:
    """What remains after the affine: (1, 3, i, j, k) in voxels of the working grid, by the network and refinement.

    Also what each level of the refinement did: none without steps.
    """
    with account.stage("prepare"):
        fixed, moving, fixed_mask, moving_mask = pair.tensors(affine, device)
    u = torch.zeros(1, 3, *pair.grid.shape, device=device)
    if network is not None:
        progress("network", 0.0)
        half = torch.autocast(device.type, torch.bfloat16, enabled=o.precision == "bfloat16")
        with account.stage("network"), torch.no_grad(), half:
            u = predict(network, moving, fixed, pair.factor)
        finite(u, "the network's displacement", "these weights do not suit these images")
        release_memory()
    levels: tuple[LevelReport, ...] = ()
    if o.refinement:
        with account.stage("refine"):
            if network is not None and not improves(
                u, moving, fixed, o.refinement, fixed_mask, moving_mask
            ):
                u = torch.zeros_like(u)
                account.warn(
                    "what the network found was worse than nothing and is not used: its weights do not suit"
                )
            u, levels = refine(
                moving, fixed, o.refinement, u, fixed_mask, moving_mask,
                lambda done, total, loss: progress("refine", done / total),
            )  # fmt: skip
            finite(u, "the refined displacement", "check the images' intensities")
    return u, levels


def _warn_of_maps(account: Account, o: Options, found: Mapping[str, Image]) -> None:
    if o.save_clusters and not any(name.startswith("clusters") for name in found):
        account.warn(
            "there are no clusters to save: these weights are of no network that has any on the images"
        )
    if o.save_uncertainty and UNCERTAINTY not in found:
        account.warn(
            "there is no uncertainty to save: these weights are of no network that matches on the images"
        )


def _warn(account: Account, o: Options, measured: dict[str, Any]) -> None:
    if o.weights == "none":
        account.warn(
            "no network was used (weights: none): the result is affine alignment and per-pair refinement"
        )
    if folded := measured["folding"]["folded_voxels"]:
        account.warn(f"the transform folds in {folded} voxels")
    if (error := measured["inverse"]["round_trip_mean_mm"]) > 0.1:
        account.warn(f"the inverse returns points {error:.2f} mm off on average")


def finite(u: torch.Tensor, what: str, remedy: str) -> torch.Tensor:
    """`u` itself; RegistrationError where it holds NaN or infinite values."""
    if not bool(torch.isfinite(u).all()):
        raise RegistrationError(f"{what} is not finite; nothing was written: {remedy}")
    return u
