"""Evaluation: any weights, and refinement, on any list of pairs, with every number of docs/metrics.md.

Beside each pair stands its baseline, what the affine alone gives (the identity where none is asked for).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from .affine import align
from .apply import carry
from .data.cases import Case
from .data.read import check_labels, is_pickle, load_case, unit
from .delivery import deliver
from .errors import InputError
from .inputs import Inputs
from .io.images import Image
from .io.points import Points, load_points
from .labelmaps import counts
from .metrics import dice, folding, target_registration_error
from .models.sacbnet import SACBNet
from .models.weights import load_weights, weights_hash
from .ops.dispatch import kernels_for, pick_device
from .pipeline import Options, displacement
from .preprocess import Layer, Pair, mask_on_grid, on_grid, prepare, spacing_of, within, working_spacing
from .report.environment import environment, peak_memory_mb
from .report.run import Account
from .report.statistics import summarise
from .spatial.transforms import Affine, DisplacementField, PointMap, chain
from .surface import hausdorff95

Row = dict[str, Any]
OF_A_LABEL = ("dice_nearest", "dice_onehot", "hd95_mm")
OF_A_PAIR = (
    *OF_A_LABEL, "folded_percent", "non_diffeomorphic_percent", "sd_log_jacobian", "tre_mm", "seconds",
    "peak_memory_mb",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A case as it was read; its labels and points are None where it has none."""

    case: Case
    image: Image
    labels: Image | None
    points: Points | None


@dataclass
class Evaluation:
    """pairs: a row per pair and method; labels: a row per pair, method and label; report: what summary.json holds."""

    pairs: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)


def evaluate(
    cases: Sequence[Case],
    pairs: Sequence[tuple[int, int]],
    options: Options,
    labels: tuple[int, ...] = (),
    repair: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> Evaluation:
    """Register each (moving, fixed) pair of cases as `sacbnet.register` does, and score it.

    labels: which are scored; () scores all that either map of a pair has. repair: mend folds, as `register` does before
    it delivers; without it the network's own folding is told. Two images on one grid are worked on in its whole box,
    as in training; others in the box that `register` chooses. Seconds are without reading files and without scoring.
    Raises what `register` raises; InputError for pairs without labels and points.
    """
    if not pairs:
        raise InputError("there are no pairs to evaluate; name a source, a subset or a pairing that has some")
    for pair in pairs:
        _refuse_unscorable(cases[pair[0]], cases[pair[1]])
    device = pick_device(options.device)
    network, metadata = (None, None) if options.weights == "none" else load_weights(options.weights, str(device))
    kernels_for(device)  # compiles them the first time
    read = lru_cache(maxsize=8)(lambda n: _read(cases[n]))
    baseline = "identity" if options.affine == "none" else options.affine
    found = Evaluation()
    for n, (m, f) in enumerate(pairs):
        moving, fixed = read(m), read(f)
        if progress is not None:
            progress(f"{moving.case.name} -> {fixed.case.name}", n / len(pairs))
        who = {"moving": moving.case.name, "fixed": fixed.case.name}
        affine, transform, seconds = _register(moving, fixed, network, metadata, options, device, repair)
        for method, point_map in ((baseline, affine), ("registered", transform)):
            row, per_label = score(moving, fixed, point_map, labels)
            if isinstance(point_map, DisplacementField):
                folds = asdict(folding(point_map))
                row |= {name: folds[name] for name in OF_A_PAIR if name in folds}
                row |= {"seconds": seconds, "peak_memory_mb": peak_memory_mb(device)}
            found.pairs.append(who | {"method": method} | row)
            found.labels += [who | {"method": method} | of_label for of_label in per_label]
    found.report = {
        "format_version": 1,
        "environment": environment(device),
        "options": asdict(options) | {"refine": options.steps, "labels": list(labels), "repair": repair},
        "weights": {"name": "none"} if metadata is None else metadata | {"sha256": weights_hash(options.weights)},
        "pairs": len(pairs),
        "summary": summary(found.pairs, OF_A_PAIR, "method"),
        "labels": summary([r for r in found.labels if r["method"] == "registered"], OF_A_LABEL, "label"),
    }
    return found


def score(moving: Subject, fixed: Subject, point_map: PointMap, labels: tuple[int, ...]) -> tuple[Row, list[Row]]:
    """Means over the labels and the error at landmarks, as far as there are any; and a row per label.

    A mean is over the labels that either map has (Dice), or both have (HD95); `labels_absent` counts those asked for
    that neither has. Distances are along the fixed image's axes, at its own spacing.
    """
    row: Row = {}
    rows: list[Row] = []
    if moving.labels is not None and fixed.labels is not None:
        reference = fixed.labels.data
        spacing = fixed.labels.grid.spacing
        moved = {how: carry(moving.labels, fixed.image, point_map, how).data for how in ("nearest", "onehot")}
        wanted = labels or tuple(sorted({n for x in (reference, moved["nearest"]) for n in counts(x) if n > 0}))
        nearest, onehot = (dice(moved[how], reference, wanted) for how in ("nearest", "onehot"))
        distance = hausdorff95(moved["nearest"], reference, wanted, tuple(spacing))
        rows = [
            {
                "label": label,
                "dice_nearest": nearest.per_label[label],
                "dice_onehot": onehot.per_label.get(label, float("nan")),
                "hd95_mm": distance[label],
            }
            for label in wanted
            if label in nearest.per_label
        ]
        if not rows:
            raise InputError(
                f"neither {moving.case.name} nor {fixed.case.name} has any of the labels {list(wanted)}; their own are"
                f" {sorted(counts(reference).keys() - {0})[:60]}"
            )
        both = [d for d in distance.values() if np.isfinite(d)]
        row = {
            "dice_nearest": nearest.mean,
            "dice_onehot": onehot.mean,
            "hd95_mm": float(np.mean(both)) if both else float("nan"),
            "labels_absent": len(nearest.absent),
        }
    if moving.points is not None and fixed.points is not None:
        row["tre_mm"] = float(target_registration_error(point_map, fixed.points.xyz, moving.points.xyz).mean())
    if not row:
        raise InputError(
            f"{moving.case.name} and {fixed.case.name} have neither labels nor points both; there is nothing to score"
        )
    return row, rows


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


def _register(
    moving: Subject,
    fixed: Subject,
    network: SACBNet | None,
    metadata: Mapping[str, str] | None,
    o: Options,
    device: torch.device,
    repair: bool,
) -> tuple[Affine, DisplacementField, float]:
    """The affine, the whole transform on the fixed grid, and the seconds that they took."""
    start = time.perf_counter()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    pair = _pair(moving, fixed, o, metadata)
    affine = align(pair.fixed, pair.moving, o.affine)
    u = displacement(pair, affine, network, o, device, Account(), lambda stage, fraction: None)[0].float().cpu()
    if repair:
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
            " --affine rigid or affine"
        )
    if o.affine != "none" or not f.grid.is_orthogonal or not f.grid.matches(m.grid, tolerance_mm=0.01):
        return prepare(inputs, o.spacing, metadata)
    spacing = o.spacing or spacing_of(metadata)
    own = f.grid.spacing
    if spacing is None:
        spacing = working_spacing(f.grid) if own.max() - own.min() > 1e-3 * own.min() else float(own.min())
    grid = f.grid
    if np.abs(own - spacing).max() > 1e-3 * spacing:
        grid = grid.with_spacing(spacing)
    of_fixed, of_moving = unit(f, fixed.case), unit(m, moving.case)
    inside = within(None, f.data)
    if grid is not f.grid:
        of_fixed = on_grid(of_fixed, f.grid, grid)[0, 0].numpy()
        inside = None if inside is None else mask_on_grid(inside, f.grid, grid)[0, 0].numpy() > 0
    return Pair(grid, spacing, Layer(of_fixed, grid, inside), Layer(of_moving, m.grid, within(None, m.data)))


def _read(case: Case) -> Subject:
    image, labels = load_case(case)
    if labels is not None:
        check_labels(image, labels)
    return Subject(case, image, labels, None if case.points is None else load_points(case.points))
