"""Scores of a list of pairs, whatever registers them: our engine, or another tool.

docs/how-to/evaluation.md says what each number is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from sacbnet.data.cases import Case
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

Row = dict[str, Any]  # a row of a table: column -> value
Scores = tuple[list[Row], list[Row]]  # rows by method; rows by method and label
OF_A_LABEL = tuple(LABEL_METRICS)
OF_A_PAIR = (
    *OF_A_LABEL,
    "hd95_left_out",
    "folded_percent",
    "non_diffeomorphic_percent",
    "sd_log_jacobian",
    "tre_mm",
    "seconds",
    "peak_memory_mb",
)


@dataclass(frozen=True)
class Found:
    """What a registration came to.

    Parameters
    ----------
    transform : DisplacementField
        The whole transform, on the fixed grid.
    seconds : float
        Run time without reading files, s.
    peak_memory_mb : float
        Peak memory of the process that did it, or of the GPU's allocator, MiB.
    affine : Affine, default identity
        The affine part of the transform.
    """

    transform: DisplacementField
    seconds: float
    peak_memory_mb: float
    affine: Affine = field(default_factory=Affine)


class Register(Protocol):
    """Anything that registers two subjects."""

    def __call__(self, *, fixed: Subject, moving: Subject) -> Found:
        """Register; raises a SacbnetError where it cannot be done."""


class Watch(Protocol):
    """Anything that looks at a pair once it is scored."""

    def __call__(self, row: Row, *, fixed: Subject, moving: Subject, found: Found) -> None:
        """Look at it; the row holds the names of the cases and the scores of the result."""


def outcomes(
    cases: Sequence[Case],
    pairs: Sequence[tuple[int, int]],
    labels: tuple[int, ...],
    register: Register,
    *,
    centre: bool,
    baseline: str | None = None,
    progress: Callable[[str, float], None] | None = None,
    watch: Watch | None = None,
) -> Iterator[tuple[Row, Scores | SacbnetError]]:
    """Register and score pairs, one after the other.

    Parameters
    ----------
    cases : Sequence[Case]
        The cases.
    pairs : Sequence[tuple[int, int]]
        Pairs (moving, fixed), as indices of the cases.
    labels : tuple[int, ...]
        Labels that are scored; (): all that either map of a pair has.
    register : Register
        What registers.
    centre : bool
        Whether the moving image is moved first, so that the centres of the two boxes meet.
    baseline : str or None, default None
        Name under which the affine part alone is scored as well; None: it is not.
    progress : callable (str, float), or None, default None
        Called with the names of a pair and the fraction of all pairs that is done.
    watch : Watch or None, default None
        Called with each pair once it is scored, while its images are in memory.

    Yields
    ------
    names : Row
        Names of the moving and the fixed case.
    outcome : Scores or SacbnetError
        Rows by method and by label, or why there are none. The method is "registered".
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
            if centre:
                moving = centred(moving, fixed.image.grid)
            outcome, found = _of_pair(fixed, moving, labels, register, baseline)
            if watch is not None:
                watch(names | outcome[0][-1], fixed=fixed, moving=moving, found=found)
        except SacbnetError as error:
            outcome = error
        yield names, outcome


def _of_pair(
    fixed: Subject,
    moving: Subject,
    labels: tuple[int, ...],
    register: Register,
    baseline: str | None,
) -> tuple[Scores, Found]:
    """A row per method; a row per method and label; what was found."""
    present = _labels_of(fixed, moving, labels)
    found = register(fixed=fixed, moving=moving)
    folds = asdict(folding(found.transform))
    of_transform = {number: folds[number] for number in OF_A_PAIR if number in folds}
    of_transform |= {"seconds": found.seconds, "peak_memory_mb": found.peak_memory_mb}
    steps: list[tuple[str, PointMap, Row]] = [("registered", found.transform, of_transform)]
    if baseline is not None:
        steps.insert(0, (baseline, found.affine, {}))
    rows, of_labels = [], []
    for name, point_map, more in steps:
        row, per_label = score(fixed=fixed, moving=moving, point_map=point_map, labels=present)
        if moving.labels is not None and fixed.labels is not None:
            row["labels_absent"] = len(set(labels) - set(present))
        rows.append({"method": name} | row | more)
        of_labels += [{"method": name} | of_label for of_label in per_label]
    return (rows, of_labels), found


def _labels_of(fixed: Subject, moving: Subject, asked: tuple[int, ...]) -> tuple[int, ...]:
    """The labels of a pair that are scored; () without label maps.

    Raises an InputError if the label maps hold none of the labels that were asked for.
    """
    if moving.labels is None or fixed.labels is None:
        return ()
    present = present_labels(moving.labels.data, fixed.labels.data, asked)
    if not present:
        own = present_labels(moving.labels.data, fixed.labels.data)
        raise InputError(
            f"neither {moving.case.name} nor {fixed.case.name} has any of the labels {list(asked)};"
            f" their own are {list(own[:60])}"
        )
    return present


def score(
    *, fixed: Subject, moving: Subject, point_map: PointMap, labels: tuple[int, ...]
) -> tuple[Row, list[Row]]:
    """Score one transform of one pair.

    A label that the transform makes vanish has a Dice of 0. Its HD95 is NaN; the mean leaves it
    out, and `hd95_left_out` counts it. Distances are along the fixed image's axes, at its own
    spacing.

    Parameters
    ----------
    fixed, moving : Subject
        The pair.
    point_map : PointMap
        World coordinates of the fixed image -> world coordinates of the moving image.
    labels : tuple[int, ...]
        Labels of the pair (`metrics.present_labels`), the same for every method.

    Returns
    -------
    row : Row
        Means over the labels, and the error at landmarks, as far as there are any.
    rows : list[Row]
        A row per label.

    Raises
    ------
    InputError
        If landmarks do not come in pairs.
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
    """Sum up numbers over rows.

    Parameters
    ----------
    rows : Sequence[Row]
        The rows.
    names : Sequence[str]
        Columns of the numbers.
    by : str
        Column by whose values the rows are grouped.

    Returns
    -------
    dict[str, dict[str, Any]]
        For each value of `by` and each number its mean, SD and 95% interval.
    """
    out: dict[str, dict[str, Any]] = {}
    for key in dict.fromkeys(row[by] for row in rows):
        those = [row for row in rows if row[by] == key]
        found = {name: [row[name] for row in those if name in row] for name in names}
        out[str(key)] = {
            name: asdict(summarise(values)) for name, values in found.items() if values
        }
    return out


def _refuse_unscorable(moving: Case, fixed: Case) -> None:
    """Raise an InputError unless both images have labels, or both have points."""
    labelled = all(case.labels is not None or is_pickle(case) for case in (moving, fixed))
    if not labelled and (moving.points is None or fixed.points is None):
        raise InputError(
            f"{moving.name} and {fixed.name} have neither labels nor points both; give a folder"
            " with images/ and labels/, or a CSV that names them (docs/reference/data.md)"
        )
