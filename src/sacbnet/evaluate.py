"""Evaluation: any weights, and refinement, on any list of pairs, with every number of docs/metrics.md.

Beside each pair stands its baseline, what the affine alone gives (the identity where none is asked for, or the shift
that brings the centres together).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from .affine import align as align_by_intensity
from .apply import carry
from .data.cases import Case
from .data.read import is_pickle, unit
from .data.subjects import Reader, Subject, centred
from .delivery import deliver
from .errors import InputError, SacbnetError
from .inputs import Inputs
from .metrics import dice_of_present, folding, present_labels, target_registration_error
from .ops.dispatch import kernels_for, pick_device
from .pipeline import Options, displacement, load_network
from .predict import Network
from .preprocess import Layer, Pair, mask_on_grid, on_grid, prepare, spacing_of, spacings, within
from .report.environment import environment, peak_memory_mb
from .report.run import Account
from .report.statistics import summarise
from .spatial.transforms import Affine, DisplacementField, PointMap, chain
from .surface import hausdorff95

Row = dict[str, Any]
OF_A_LABEL = ("dice_nearest", "dice_onehot", "hd95_mm")
OF_A_PAIR = (
    *OF_A_LABEL, "hd95_left_out", "folded_percent", "non_diffeomorphic_percent", "sd_log_jacobian", "tre_mm", "seconds",
    "peak_memory_mb",
)  # fmt: skip


@dataclass
class Evaluation:
    """pairs: a row per pair and method, or one with `error` for a pair that failed; labels: a row per pair, method and
    label; report: what summary.json holds. All in the order of the pairs that were asked for."""

    pairs: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Method:
    """What is done with every pair. centre: the boxes are brought together first."""

    network: Network | None
    metadata: Mapping[str, str] | None
    options: Options
    device: torch.device
    repair: bool
    centre: bool

    @property
    def baseline(self) -> str:
        if self.options.affine != "none":
            return self.options.affine
        return "centre" if self.centre else "identity"


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
    start, it has no effect. Two images on one grid are worked on in its whole box, as in training; others in the box
    that `register` chooses. Seconds are without reading files and without scoring.

    A pair that raises a SacbnetError is noted, and the rest goes on; KeyboardInterrupt ends the work, and what there is
    is returned, marked incomplete. Raises what `load_weights` raises; InputError without pairs; the first pair's error
    where every pair fails, and KeyboardInterrupt where none is done yet.
    """
    if not pairs:
        raise InputError("there are no pairs to evaluate; name a source, a subset or a pairing that has some")
    if align not in ("header", "centre"):
        raise InputError(f"the alignment is {align!r}; 'header' or 'centre' was expected")
    device = pick_device(options.device)
    network, metadata = load_network(options.weights, device)
    kernels_for(device)  # compiles them the first time
    method = _Method(network, metadata, options, device, repair, align == "centre" and options.affine == "none")
    found, errors, interrupted = Evaluation(), [], False
    try:
        for names, outcome in _outcomes(cases, pairs, labels, method, progress):
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
    found.report = _report(found, method, labels, len(pairs), interrupted)
    return found


def _outcomes(
    cases: Sequence[Case],
    pairs: Sequence[tuple[int, int]],
    labels: tuple[int, ...],
    method: _Method,
    progress: Callable[[str, float], None] | None,
) -> Iterator[tuple[Row, tuple[list[Row], list[Row]] | SacbnetError]]:
    """Of each pair its names, and its rows by method and by label, or why there are none."""
    read = Reader(cases)
    for n, (m, f) in enumerate(pairs):
        names = {"moving": cases[m].name, "fixed": cases[f].name}
        if progress is not None:
            progress(f"{cases[m].name} -> {cases[f].name}", n / len(pairs))
        outcome: tuple[list[Row], list[Row]] | SacbnetError
        try:
            _refuse_unscorable(cases[m], cases[f])
            outcome = _of_pair(read(m), read(f), labels, method)
        except SacbnetError as error:
            outcome = error
        yield names, outcome


def _of_pair(moving: Subject, fixed: Subject, labels: tuple[int, ...], method: _Method) -> tuple[list[Row], list[Row]]:
    """A row per method; a row per method and label."""
    if method.centre:
        moving = centred(moving, fixed.image.grid)
    present = _labels_of(moving, fixed, labels)
    affine, transform, seconds = _register(moving, fixed, method)
    rows, of_labels = [], []
    for name, point_map in ((method.baseline, affine), ("registered", transform)):
        row, per_label = score(moving, fixed, point_map, present)
        if moving.labels is not None and fixed.labels is not None:
            row["labels_absent"] = len(set(labels) - set(present))
        if isinstance(point_map, DisplacementField):
            folds = asdict(folding(point_map))
            row |= {number: folds[number] for number in OF_A_PAIR if number in folds}
            row |= {"seconds": seconds, "peak_memory_mb": peak_memory_mb(method.device)}
        rows.append({"method": name} | row)
        of_labels += [{"method": name} | of_label for of_label in per_label]
    return rows, of_labels


def _labels_of(moving: Subject, fixed: Subject, asked: tuple[int, ...]) -> tuple[int, ...]:
    """`metrics.present_labels` of a pair; () without label maps, InputError where they have none."""
    if moving.labels is None or fixed.labels is None:
        return ()
    present = present_labels(moving.labels.data, fixed.labels.data, asked)
    if not present:
        own = present_labels(moving.labels.data, fixed.labels.data)
        raise InputError(
            f"neither {moving.case.name} nor {fixed.case.name} has any of the labels {list(asked)}; their own are"
            f" {list(own[:60])}"
        )
    return present


def score(moving: Subject, fixed: Subject, point_map: PointMap, labels: tuple[int, ...]) -> tuple[Row, list[Row]]:
    """Means over `labels` and the error at landmarks, as far as there are any; and a row per label.

    labels: those of `metrics.present_labels` of the pair, so the same for every method. One that the map makes vanish
    has a Dice of 0; its HD95 is NaN, which the mean leaves out and `hd95_left_out` counts. Distances are along the
    fixed image's axes, at its own spacing. Raises InputError for landmarks that do not come in pairs.
    """
    row: Row = {}
    rows: list[Row] = []
    if labels and moving.labels is not None and fixed.labels is not None:
        reference = fixed.labels.data
        moved = {how: carry(moving.labels, fixed.image, point_map, how).data for how in ("nearest", "onehot")}
        overlap = {how: dice_of_present(x, reference, labels) for how, x in moved.items()}
        distance = hausdorff95(moved["nearest"], reference, labels, tuple(fixed.labels.grid.spacing))
        rows = [
            {
                "label": label,
                "dice_nearest": overlap["nearest"][label],
                "dice_onehot": overlap["onehot"][label],
                "hd95_mm": distance[label],
            }
            for label in labels
        ]
        both = [d for d in distance.values() if np.isfinite(d)]
        row = {
            "dice_nearest": float(np.mean(list(overlap["nearest"].values()))),
            "dice_onehot": float(np.mean(list(overlap["onehot"].values()))),
            "hd95_mm": float(np.mean(both)) if both else float("nan"),
            "hd95_left_out": len(labels) - len(both),
        }
    if moving.points is not None and fixed.points is not None:
        row["tre_mm"] = float(target_registration_error(point_map, fixed.points.xyz, moving.points.xyz).mean())
    return row, rows


def _report(
    found: Evaluation, method: _Method, labels: tuple[int, ...], asked: int, interrupted: bool
) -> dict[str, Any]:
    """What summary.json holds: how it was done, how many pairs there were, and the rows summed up."""
    o, metadata = method.options, method.metadata
    align = "centre" if method.centre else "header"
    chosen = {
        "refine": o.steps,
        "labels": list(labels),
        "repair": method.repair,
        "align": align,
    }
    scored = [row for row in found.pairs if "error" not in row]
    errors = [row for row in found.pairs if "error" in row]
    return {
        "format_version": 1,
        "environment": environment(method.device),
        "options": asdict(o) | chosen,
        "weights": {"name": "none"} if metadata is None else dict(metadata),
        "pairs": asked,
        "scored": sum(row["method"] == "registered" for row in scored),
        "failed": len(errors),
        "errors": errors,
        "incomplete": interrupted,
        "summary": summary(scored, OF_A_PAIR, "method"),
        "labels": summary([r for r in found.labels if r["method"] == "registered"], OF_A_LABEL, "label"),
    }


def summary(rows: Sequence[Row], names: Sequence[str], by: str) -> dict[str, dict[str, Any]]:
    """Mean, SD and 95% interval of each number, for each value of the column `by`."""
    out: dict[str, dict[str, Any]] = {}
    for key in dict.fromkeys(row[by] for row in rows):
        those = [row for row in rows if row[by] == key]
        found = {name: [row[name] for row in those if name in row] for name in names}
        out[str(key)] = {name: asdict(summarise(values)) for name, values in found.items() if values}
    return out


def _refuse_unscorable(moving: Case, fixed: Case) -> None:
    """InputError for a pair that has neither labels nor points on both sides: before anything is registered."""
    labelled = all(case.labels is not None or is_pickle(case) for case in (moving, fixed))
    if not labelled and (moving.points is None or fixed.points is None):
        raise InputError(
            f"{moving.name} and {fixed.name} have neither labels nor points both; give a folder with images/ and"
            " labels/, or a CSV that names them (docs/data.md)"
        )


def _register(moving: Subject, fixed: Subject, method: _Method) -> tuple[Affine, DisplacementField, float]:
    """The affine, the whole transform on the fixed grid, and the seconds that they took."""
    o, device = method.options, method.device
    start = time.perf_counter()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    pair = _pair(moving, fixed, o, method.metadata)
    affine = align_by_intensity(pair.fixed, pair.moving, o.affine)
    found, _ = displacement(pair, affine, method.network, o, device, Account(), lambda stage, fraction: None)
    u = found[0].float().cpu()
    if method.repair:
        transform, _ = deliver(u, pair.grid, affine, fixed.image.grid)
    else:
        smooth = DisplacementField.from_voxels(pair.grid, u.permute(1, 2, 3, 0).numpy())
        transform = DisplacementField.from_map(chain(affine, smooth), fixed.image.grid.orthogonal())
    return affine, transform, time.perf_counter() - start


def _pair(moving: Subject, fixed: Subject, o: Options, metadata: Mapping[str, str] | None) -> Pair:
    """What the engine works on: the whole box that two images share, at the weights' spacing; else `register`'s box."""
    inputs = Inputs(fixed.image, moving.image).canonical()
    f, m = inputs.fixed, inputs.moving
    if o.affine == "none" and not f.grid.meets(m.grid):
        raise InputError(
            f"{moving.case.name} and {fixed.case.name} share no place in the world; repair the headers, or give"
            " --align centre, or --affine rigid or affine"
        )
    if o.affine != "none" or not f.grid.is_orthogonal or not f.grid.matches(m.grid, tolerance_mm=0.01):
        return prepare(inputs, o.spacing, metadata, o.refinement is not None)
    own = f.grid.spacing
    isotropic = own.max() - own.min() <= 1e-3 * own.min()
    asked = o.spacing or (float(own.min()) if isotropic and spacing_of(metadata) is None else None)
    spacing, factor = spacings(f.grid, asked, spacing_of(metadata), o.refinement is not None)
    grid = f.grid
    if np.abs(own - spacing).max() > 1e-3 * spacing:
        grid = grid.with_spacing(spacing)
    of_fixed, of_moving = unit(f, fixed.case), unit(m, moving.case)
    inside = within(None, f.data)
    if grid is not f.grid:
        of_fixed = on_grid(of_fixed, f.grid, grid)[0, 0].numpy()
        inside = None if inside is None else mask_on_grid(inside, f.grid, grid)[0, 0].numpy() > 0
    return Pair(grid, spacing, Layer(of_fixed, grid, inside), Layer(of_moving, m.grid, within(None, m.data)), factor)
