"""Register a moving image to a fixed one: the pipeline, from images in any grid to a transform in the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from .affine import AffineKind, align
from .apply import carry
from .compiled.memory import release_memory
from .delivery import deliver, inverse_grid, round_trip
from .errors import InputError, RegistrationError
from .inputs import Inputs, read_inputs
from .io.images import Image, ImageSource
from .metrics import folding
from .models import catalogue
from .models.weights import load_weights
from .ops.dispatch import kernels_for, pick_device
from .predict import Network, as_meant, predict
from .preprocess import Pair, prepare
from .refine import LevelReport, RefineOptions, improves, refine
from .regions import maps, watching
from .report.environment import environment, peak_memory_mb
from .report.measure import measure, refuse_worse
from .report.run import FORMAT_VERSION, Account, describe_image
from .result import UNCERTAINTY, Registration
from .spatial.invert import invert
from .spatial.transforms import Affine

Precision = Literal["float32", "bfloat16"]
Progress = Callable[[str, float], None]  # (stage, fraction of it that is done)
Preset = Literal["fast", "balanced", "accurate"]
PRESETS = {
    "fast": RefineOptions(levels=(8, 4, 2)),  # without a network, which else does it all
    "balanced": RefineOptions(),
    "accurate": RefineOptions(iterations=150, at_full=1.0, tolerance=5e-4),
}


@dataclass(frozen=True)
class Options:
    """What may be chosen about a registration.

    weights: a name, a safetensors file of SACB-Net or the folder of a training run (`catalogue.resolve`), or "none"; by
    default what the catalogue names. affine: "none" (the headers already agree), "rigid" or "affine".
    preset: how much refinement of this pair follows the network: "fast" none (without a network, one that ends at half
    the resolution), "balanced" up to 60 steps a level and few at full resolution, "accurate" up to 150 everywhere.
    refine: steps a level at most, instead of the preset's; 0 is no refinement. device: "auto", "cpu", "cuda", "cuda:1".
    spacing: mm at which the pair is worked on; None is the weights' own, or with refinement the fixed image's
    (`preprocess.spacings`). precision: in which the network's features are stored, "float32" or "bfloat16", which
    halves their memory; displacements and refinement are float32 always. save_clusters, save_uncertainty: the regions
    that each level of a SACB-Net found, and how sure its matching was, come with the result (`regions.maps`).
    """

    weights: str = field(default_factory=catalogue.default)
    affine: AffineKind = "affine"
    preset: Preset = "balanced"
    refine: int | None = None
    device: str = "auto"
    spacing: float | None = None
    precision: Precision = "float32"
    save_clusters: bool = False
    save_uncertainty: bool = False

    def __post_init__(self) -> None:
        if self.affine not in ("none", "rigid", "affine"):
            raise InputError(f"affine is {self.affine!r}; none, rigid or affine was expected")
        if self.preset not in PRESETS:
            raise InputError(f"preset is {self.preset!r}; {', '.join(PRESETS)} were expected")
        if self.refine is not None and self.refine < 0:
            raise InputError(f"refine is {self.refine}; a number of steps, 0 or more, was expected")
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"precision is {self.precision!r}; float32 or bfloat16 was expected")
        if self.spacing is not None and not (np.isfinite(self.spacing) and self.spacing > 0):
            raise InputError(f"spacing is {self.spacing} mm; a positive number was expected")

    @property
    def refinement(self) -> RefineOptions | None:
        """None where there is none. Steps that are asked for are those of "balanced" where the preset has none."""
        if self.refine is None:
            return None if self.preset == "fast" and self.weights != "none" else PRESETS[self.preset]
        chosen = PRESETS["balanced" if self.preset == "fast" else self.preset]
        return replace(chosen, iterations=self.refine) if self.refine else None

    @property
    def steps(self) -> int:
        """Of the refinement, at most, at a level; 0 where there is none."""
        return self.refinement.iterations if self.refinement else 0


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
        inverse = invert(transform, transform.grid, inverse_grid(inputs.moving.grid, transform, pair.spacing), affine)
    progress("resample", 0.0)
    with account.stage("resample"):
        moved = carry(inputs.moving, inputs.fixed, transform, "linear")
        labels = inputs.moving_labels
        moved_labels = None if labels is None else carry(labels, inputs.fixed, transform, "nearest")

        extra = maps(seen, pair, inputs.fixed, {"clusters": o.save_clusters, "uncertainty": o.save_uncertainty})
    _warn_of_maps(account, o, extra)

    with account.stage("measure"):
        measured["folding"] = asdict(folding(transform)) | {"repair": repair}
        measured["inverse"] = round_trip(transform, inverse)
    _warn(account, o, measured)
    report = {
        "format_version": FORMAT_VERSION,
        "environment": environment(device),
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


def load_network(weights: str, device: torch.device) -> tuple[Network | None, dict[str, str] | None]:
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
            if network is not None and not improves(u, moving, fixed, o.refinement, fixed_mask, moving_mask):
                u = torch.zeros_like(u)
                account.warn("what the network found was worse than nothing and is not used: its weights do not suit")
            u, levels = refine(
                moving, fixed, o.refinement, u, fixed_mask, moving_mask,
                lambda done, total, loss: progress("refine", done / total),
            )  # fmt: skip
            finite(u, "the refined displacement", "check the images' intensities")
    return u, levels


def _warn_of_maps(account: Account, o: Options, found: Mapping[str, Image]) -> None:
    if o.save_clusters and not any(name.startswith("clusters") for name in found):
        account.warn("there are no clusters to save: these weights are of no network that has any on the images")
    if o.save_uncertainty and UNCERTAINTY not in found:
        account.warn("there is no uncertainty to save: these weights are of no network that matches on the images")


def _warn(account: Account, o: Options, measured: dict[str, Any]) -> None:
    if o.weights == "none":
        account.warn("no network was used (weights: none): the result is affine alignment and per-pair refinement")
    if folded := measured["folding"]["folded_voxels"]:
        account.warn(f"the transform folds in {folded} voxels")
    if (error := measured["inverse"]["round_trip_mean_mm"]) > 0.1:
        account.warn(f"the inverse returns points {error:.2f} mm off on average")


def finite(u: torch.Tensor, what: str, remedy: str) -> torch.Tensor:
    """`u` itself; RegistrationError where it holds NaN or infinite values."""
    if not bool(torch.isfinite(u).all()):
        raise RegistrationError(f"{what} is not finite; nothing was written: {remedy}")
    return u
