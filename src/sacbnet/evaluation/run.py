"""Evaluation: any weights, and refinement, on any list of pairs, with every number of docs/metrics.md.

Beside each pair stands its baseline, what the affine alone gives (the identity where none is asked for, or the shift
that brings the centres together).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from sacbnet.config.choices import ALIGNMENTS
from sacbnet.config.registration import Options
from sacbnet.config.validation import choices
from sacbnet.data.cases import Case
from sacbnet.data.subjects import Subject
from sacbnet.environment import environment, peak_memory_mb, reset_peak_memory
from sacbnet.errors import InputError, SacbnetError
from sacbnet.imaging.resampling import mask_on_grid, on_grid
from sacbnet.kernels.dispatch import kernels_for, pick_device
from sacbnet.registration.account import Account
from sacbnet.registration.affine import align as align_by_intensity
from sacbnet.registration.deliver import deliver
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.predict import Network
from sacbnet.registration.prepare import Layer, Pair, prepare, spacing_of, spacings, within
from sacbnet.registration.registrar import displacement, load_network
from sacbnet.spatial.transforms import DisplacementField, chain

from .scoring import OF_A_LABEL, OF_A_PAIR, Found, Row, outcomes, summary


@dataclass
class Evaluation:
    """pairs: a row per pair and method, or one with `error` for a pair that failed; labels: a row per pair, method and
    label; report: what summary.json holds. All in the order of the pairs that were asked for."""

    pairs: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Engine:
    """Our registration of subjects (`scoring.Registration`). metadata: of the weights, None without any. repair: mend
    folds, as `register` does before it delivers; without it the network's own folding is told.

    Two images on one grid are worked on in its whole box, as in training; others in the box that `register` chooses.
    """

    network: Network | None
    metadata: Mapping[str, str] | None
    options: Options
    device: torch.device
    repair: bool = False

    @classmethod
    def of(cls, options: Options, repair: bool = False) -> Engine:
        """With its weights loaded, and the kernels compiled. Raises what `load_weights` raises."""
        device = pick_device(options.device)
        network, metadata = load_network(options.weights, device)
        kernels_for(device)  # compiles them the first time
        return cls(network, metadata, options, device, repair)

    def __call__(self, moving: Subject, fixed: Subject) -> Found:
        o, device = self.options, self.device
        reset_peak_memory(device)
        start = time.perf_counter()
        pair = _pair(moving, fixed, o, self.metadata)
        affine = align_by_intensity(pair.fixed, pair.moving, o.affine)
        found, _ = displacement(
            pair, affine, self.network, o, device, Account(), lambda stage, fraction: None
        )
        u = found[0].float().cpu()
        if self.repair:
            transform, _ = deliver(u, pair.grid, affine, fixed.image.grid)
        else:
            smooth = DisplacementField.from_voxels(pair.grid, u.permute(1, 2, 3, 0).numpy())
            transform = DisplacementField.from_map(
                chain(affine, smooth), fixed.image.grid.orthogonal()
            )
        return Found(transform, time.perf_counter() - start, peak_memory_mb(device), affine)


def evaluate(
    cases: Sequence[Case],
    pairs: Sequence[tuple[int, int]],
    options: Options,
    labels: tuple[int, ...] = (),
    repair: bool = False,
    progress: Callable[[str, float], None] | None = None,
    align: str = "header",
) -> Evaluation:
    """Register each (moving, fixed) pair of cases as `sacbnet.register` does, and score it.

    labels: which are scored; () scores all that either map of a pair has. repair: mend folds, as `register` does before
    it delivers; without it the network's own folding is told. align: "header" trusts the world coordinates; "centre"
    moves the moving image so that the centres of the two boxes meet (`centred`); with an affine, which finds its own
    start, it has no effect. Seconds are without reading files and without scoring.

    A pair that raises a SacbnetError is noted, and the rest goes on; KeyboardInterrupt ends the work, and what there is
    is returned, marked incomplete. Raises what `load_weights` raises; InputError without pairs; the first pair's error
    where every pair fails, and KeyboardInterrupt where none is done yet.
    """
    if not pairs:
        raise InputError(
            "there are no pairs to evaluate; name a source, a subset or a pairing that has some"
        )
    if align not in ALIGNMENTS:
        raise InputError(f"the alignment is {align!r}; {choices(ALIGNMENTS)} was expected")
    engine, centre = Engine.of(options, repair), align == "centre" and options.affine == "none"
    baseline = options.affine if options.affine != "none" else "centre" if centre else "identity"
    found, errors, interrupted = Evaluation(), [], False
    try:
        for names, outcome in outcomes(cases, pairs, labels, engine, centre, baseline, progress):
            if isinstance(outcome, SacbnetError):
                errors.append(outcome)
                found.pairs.append(names | {"error": str(outcome)})
                continue
            found.pairs += [names | row for row in outcome[0]]
            found.labels += [names | row for row in outcome[1]]
    except KeyboardInterrupt:
        if all("error" in row for row in found.pairs):
            raise
        interrupted = True
    if len(errors) == len(pairs):
        raise errors[0]
    found.report = _report(found, engine, centre, labels, len(pairs), interrupted)
    return found


def _report(
    found: Evaluation,
    engine: Engine,
    centre: bool,
    labels: tuple[int, ...],
    asked: int,
    interrupted: bool,
) -> dict[str, Any]:
    """What summary.json holds: how it was done, how many pairs there were, and the rows summed up."""
    o, metadata, align = engine.options, engine.metadata, "centre" if centre else "header"
    chosen = {"refine": o.steps, "labels": list(labels), "repair": engine.repair, "align": align}
    scored = [row for row in found.pairs if "error" not in row]
    errors = [row for row in found.pairs if "error" in row]
    return {
        "format_version": 1,
        "environment": environment(engine.device, kernels_for(engine.device)),
        "options": asdict(o) | chosen,
        "weights": {"name": "none"} if metadata is None else dict(metadata),
        "pairs": asked,
        "scored": sum(row["method"] == "registered" for row in scored),
        "failed": len(errors),
        "errors": errors,
        "incomplete": interrupted,
        "summary": summary(scored, OF_A_PAIR, "method"),
        "labels": summary(
            [r for r in found.labels if r["method"] == "registered"], OF_A_LABEL, "label"
        ),
    }


def _pair(moving: Subject, fixed: Subject, o: Options, metadata: Mapping[str, str] | None) -> Pair:
    """What the engine works on: the whole box that two images share, at the weights' spacing; else `register`'s box."""
    inputs = Inputs(fixed.image, moving.image).canonical()
    f, m = inputs.fixed, inputs.moving
    if o.affine == "none" and not f.grid.meets(m.grid):
        raise InputError(
            f"{moving.case.name} and {fixed.case.name} share no place in the world; repair the headers, or give"
            " --align centre, or --affine rigid or affine"
        )
    if (
        o.affine != "none"
        or not f.grid.is_orthogonal
        or not f.grid.matches(m.grid, tolerance_mm=0.01)
    ):
        return prepare(inputs, o.spacing, metadata, o.refinement is not None)
    own = f.grid.spacing
    isotropic = own.max() - own.min() <= 1e-3 * own.min()
    asked = o.spacing or (float(own.min()) if isotropic and spacing_of(metadata) is None else None)
    spacing, factor = spacings(f.grid, asked, spacing_of(metadata), o.refinement is not None)
    grid = f.grid
    if np.abs(own - spacing).max() > 1e-3 * spacing:
        grid = grid.with_spacing(spacing)
    of_fixed, of_moving = f.unit(), m.unit()
    inside = within(None, f.data)
    if grid is not f.grid:
        of_fixed = on_grid(of_fixed, f.grid, grid)[0, 0].numpy()
        inside = None if inside is None else mask_on_grid(inside, f.grid, grid)[0, 0].numpy() > 0
    return Pair(
        grid,
        spacing,
        Layer(of_fixed, grid, inside),
        Layer(of_moving, m.grid, within(None, m.data)),
        factor,
    )
