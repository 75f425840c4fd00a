"""From the transform to the whole result: measured, inverted, resampled, and with its account."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sacbnet.config.choices import NONE
from sacbnet.config.registration import Options
from sacbnet.environment import environment, peak_memory_mb
from sacbnet.errors import RegistrationError
from sacbnet.imaging.background import fill_value
from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import carry, carry_counted
from sacbnet.kernels.dispatch import kernels_for
from sacbnet.metrics.folding import Folding, folding
from sacbnet.spatial.invert import invert

from .account import Account
from .deliver import RoundTrip, inverse_grid, round_trip
from .engine import Engine
from .estimate import Estimate
from .evidence import evidence_of, mask_doubts
from .inputs import Inputs
from .maps import maps_of, meanings
from .measure import calm_likeness_of, likeness_of, missed_of, overlap_of
from .report import ImageFacts, RunReport, WorkingGrid
from .result import UNCERTAINTY, Registration
from .uncertainty import error_map
from .verdict import judge, worse


def finish(
    engine: Engine,
    inputs: Inputs,
    found: Estimate,
    account: Account,
    facts: Mapping[str, ImageFacts],
) -> Registration:
    """Measure a transform, refuse it if it failed, invert it, and resample by it.

    Parameters
    ----------
    engine : Engine
        Network, device and options.
    inputs : Inputs
        The images.
    found : Estimate
        The transform between them.
    account : Account
        Seconds, notes and warnings so far; those of these steps are added.
    facts : mapping of str to ImageFacts
        What is written about the inputs, by name: "fixed", "moving" and their companions.

    Returns
    -------
    Registration
        The moved image, the transform in both directions, and the account of the run.

    Raises
    ------
    RegistrationError
        If the verdict is "failed", unless such a result was accepted beforehand.
    """
    transform, affine, pair, o = found.transform, found.affine, found.pair, found.options
    with account.stage("measure"):
        similarity = likeness_of(pair, affine, transform)
        dice = overlap_of(inputs, affine, transform)
        missed = missed_of(inputs, affine, transform)
        account.doubt(*mask_doubts(inputs))
        evidence = evidence_of(pair, affine, transform)
        against = worse(similarity, lambda: calm_likeness_of(pair, affine, transform))
        verdict = judge(evidence, against, account.doubts)
    if verdict.word == "failed" and not o.accept:
        raise RegistrationError(
            f"the registration failed, so nothing was written: {'; '.join(verdict.reasons)}. Check"
            " that both images show the same anatomy, give masks, or try another --affine, --refine"
            " or --weights; --accept writes the result all the same"
        )
    with account.stage("inverse"):
        lattice = inverse_grid(inputs.moving.grid, transform, pair.spacing)
        inverse = invert(transform, transform.grid, lattice, affine)
    with account.stage("resample"):
        outside = fill_value(inputs.moving.data, o.fill, inputs.moving.missing)
        moved, filled = carry_counted(inputs.moving, inputs.fixed, transform, "linear", outside)
        labels = inputs.moving_labels
        if labels is not None:
            labels = carry(labels, inputs.fixed, transform, "nearest")
    with account.stage("measure", told=False):
        folds, back = folding(transform), round_trip(transform, inverse)
        # the model is made for deformations that were found; without a search it says too little
        sought = engine.network is not None or bool(o.refine)
        errors = error_map(pair, affine, transform) if sought else None
    extra: dict[str, Image] = {}
    if o.save:
        with account.stage("maps"):
            extra = maps_of(found, errors, inputs.fixed)
    _warn(account, o, folds, back, extra)
    device = engine.device
    report = RunReport(
        environment=environment(device, kernels_for(device)),
        options=o,
        working_grid=WorkingGrid(
            pair.spacing,
            pair.grid.shape,
            None if engine.network is None else pair.spacing * pair.factor,
            pair.box,
        ),
        fixed=facts["fixed"],
        moving=facts["moving"],
        companions={n: fact for n, fact in facts.items() if n not in ("fixed", "moving")},
        maps=meanings(extra, inputs.fixed.grid),
        weights=engine.weights,
        similarity=similarity,
        folding=folds,
        repair=found.repair,
        inverse=back,
        expected_error=None if errors is None else errors.summary(),
        filled=filled,
        verdict=verdict,
        evidence=evidence,
        dice=dice,
        landmarks=missed,
        clusters=found.seen.numbers(),
        refinement=found.levels,
        seconds=account.summary(),
        peak_memory_mb=peak_memory_mb(device),
        notes=tuple(account.notes),
        warnings=tuple(account.warnings),
        started=account.began(),
    )
    grids = inputs.fixed.grid, inputs.moving.grid
    return Registration(
        moved, transform, inverse.field, affine, *grids, report, labels, extra, errors, inputs
    )


def _warn(
    account: Account, o: Options, folds: Folding, back: RoundTrip, found: Iterable[str]
) -> None:
    if "clusters" in o.save and not any(name.startswith("clusters") for name in found):
        account.warn(
            "there are no clusters to save: the network of these weights has none on the images"
        )
    if "uncertainty" in o.save and UNCERTAINTY not in found:
        account.warn(
            "there is no uncertainty to save: with neither a network nor refinement, no deformation"
            " was sought (choose --preset balanced, or weights)"
        )
    if o.weights == NONE:
        account.warn(
            "no network was used (weights: none): the result is affine alignment and per-pair"
            " refinement"
        )
    if folds.folded_voxels:
        account.warn(f"the transform folds in {folds.folded_voxels} voxels")
    if back.round_trip_mean_mm > 0.1:
        account.warn(f"the inverse returns points {back.round_trip_mean_mm:.2f} mm off on average")
