"""Scores of a list of pairs, whatever registers them: ours, or another tool (docs/evaluation.md says what each is)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sacbnet.data.cases import Case, pair_up, read_cases, select, spread
from sacbnet.data.read import is_pickle
from sacbnet.data.subjects import Reader, Subject, centred
from sacbnet.errors import InputError, SacbnetError
from sacbnet.imaging.resampling import carry
from sacbnet.metrics.folding import folding
from sacbnet.metrics.landmarks import target_registration_error
from sacbnet.metrics.overlap import present_labels
from sacbnet.metrics.registry import LABEL_METRICS
from sacbnet.spatial.transforms import Affine, DisplacementField, PointMap

from .statistics import summarise

if TYPE_CHECKING:
    from sacbnet.config.recipe import DataOptions

Row = dict[str, Any]
OF_A_LABEL = tuple(LABEL_METRICS)
OF_A_PAIR = (
    *OF_A_LABEL, "hd95_left_out", "folded_percent", "non_diffeomorphic_percent", "sd_log_jacobian", "tre_mm", "seconds",
    "peak_memory_mb",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What a registration came to. transform: all of it, on the fixed grid; affine: the part of it that is one.
    seconds: without reading files. peak_memory_mb: of the process that did it, or of the GPU's allocator, MiB."""

    transform: DisplacementField
    seconds: float
    peak_memory_mb: float
    affine: Affine = field(default_factory=Affine)


Registration = Callable[
    [Subject, Subject], Found
]  # of moving to fixed; raises a SacbnetError where it cannot be
Scores = tuple[list[Row], list[Row]]  # by method; by method and label


def pairs_to_score(
    source: Path, chosen: DataOptions, limit: int = 0
) -> tuple[tuple[Case, ...], tuple[tuple[int, int], ...]]:
    """The cases of a source, and the pairs (moving, fixed) of them that the validation of `chosen` means; at most
    `limit` of these, spread over all (0: all). InputError for a pack, and for what names no pair."""
    if source.suffix == ".pack":
        raise InputError(
            f"{source} is a pack, which is for training; give the images it was made of: they are scored"
        )
    found = read_cases(source)
    which = select(found.cases, chosen.validation)
    pairs = pair_up(
        found.cases, which, chosen.validation_pairs, atlas=chosen.atlas, listed=found.pairs
    )
    return found.cases, spread(pairs, limit)


def outcomes(
    cases: Sequence[Case],
    pairs: Sequence[tuple[int, int]],
    labels: tuple[int, ...],
    register: Registration,
    centre: bool,
    baseline: str | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Iterator[tuple[Row, Scores | SacbnetError]]:
    """Of each pair (moving, fixed) its names, and its rows by method and by label, or why there are none.

    The method is "registered"; the affine alone stands before it as `baseline`, where that has a name. labels: which
    are scored; () all that either map of a pair has. centre: the moving image is moved so that the centres of the two
    boxes meet, before all else.
    """
    read = Reader(cases)
    for n, (m, f) in enumerate(pairs):
        names = {"moving": cases[m].name, "fixed": cases[f].name}
        if progress is not None:
            progress(f"{cases[m].name} -> {cases[f].name}", n / len(pairs))
        outcome: Scores | SacbnetError
        try:
            _refuse_unscorable(cases[m], cases[f])
            moving, fixed = read(m), read(f)
            outcome = _of_pair(
                centred(moving, fixed.image.grid) if centre else moving,
                fixed,
                labels,
                register,
                baseline,
            )
        except SacbnetError as error:
            outcome = error
        yield names, outcome


def _of_pair(
    moving: Subject,
    fixed: Subject,
    labels: tuple[int, ...],
    register: Registration,
    baseline: str | None,
) -> Scores:
    """A row per method; a row per method and label."""
    present = _labels_of(moving, fixed, labels)
    found = register(moving, fixed)
    folds = asdict(folding(found.transform))
    of_transform = {number: folds[number] for number in OF_A_PAIR if number in folds}
    of_transform |= {"seconds": found.seconds, "peak_memory_mb": found.peak_memory_mb}
    steps: list[tuple[str, PointMap, Row]] = [("registered", found.transform, of_transform)]
    if baseline is not None:
        steps.insert(0, (baseline, found.affine, {}))
    rows, of_labels = [], []
    for name, point_map, more in steps:
        row, per_label = score(moving, fixed, point_map, present)
        if moving.labels is not None and fixed.labels is not None:
            row["labels_absent"] = len(set(labels) - set(present))
        rows.append({"method": name} | row | more)
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


def score(
    moving: Subject, fixed: Subject, point_map: PointMap, labels: tuple[int, ...]
) -> tuple[Row, list[Row]]:
    """Means over `labels` and the error at landmarks, as far as there are any; and a row per label.

    labels: those of `metrics.present_labels` of the pair, so the same for every method. One that the map makes vanish
    has a Dice of 0; its HD95 is NaN, which the mean leaves out and `hd95_left_out` counts. Distances are along the
    fixed image's axes, at its own spacing. Raises InputError for landmarks that do not come in pairs.
    """
    row: Row = {}
    rows: list[Row] = []
    if labels and moving.labels is not None and fixed.labels is not None:
        ways = sorted({metric.warped for metric in LABEL_METRICS.values()})
        moved = {how: carry(moving.labels, fixed.image, point_map, how).data for how in ways}
        spacing = tuple(fixed.labels.grid.spacing)
        found = {
            name: metric.function(moved[metric.warped], fixed.labels.data, labels, spacing)
            for name, metric in LABEL_METRICS.items()
        }
        rows = [
            {"label": label} | {name: values[label] for name, values in found.items()}
            for label in labels
        ]
        finite = {
            name: [value for value in values.values() if np.isfinite(value)]
            for name, values in found.items()
        }
        row = {name: float(np.mean(x)) if x else float("nan") for name, x in finite.items()}
        row["hd95_left_out"] = len(labels) - len(finite["hd95_mm"])
    if moving.points is not None and fixed.points is not None:
        row["tre_mm"] = float(
            target_registration_error(point_map, fixed.points.xyz, moving.points.xyz).mean()
        )
    return row, rows


def summary(rows: Sequence[Row], names: Sequence[str], by: str) -> dict[str, dict[str, Any]]:
    """Mean, SD and 95% interval of each number, for each value of the column `by`."""
    out: dict[str, dict[str, Any]] = {}
    for key in dict.fromkeys(row[by] for row in rows):
        those = [row for row in rows if row[by] == key]
        found = {name: [row[name] for row in those if name in row] for name in names}
        out[str(key)] = {
            name: asdict(summarise(values)) for name, values in found.items() if values
        }
    return out


def _refuse_unscorable(moving: Case, fixed: Case) -> None:
    """InputError for a pair that has neither labels nor points on both sides: before anything is registered."""
    labelled = all(case.labels is not None or is_pickle(case) for case in (moving, fixed))
    if not labelled and (moving.points is None or fixed.points is None):
        raise InputError(
            f"{moving.name} and {fixed.name} have neither labels nor points both; give a folder with images/ and"
            " labels/, or a CSV that names them (docs/data.md)"
        )
