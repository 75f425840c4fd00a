"""Find what is wrong with a dataset before hours are spent on it. Each case is read once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from nibabel.orientations import aff2axcodes

from sacbnet.config.choices import Alignment
from sacbnet.errors import SacbnetError
from sacbnet.imaging.image import Image
from sacbnet.io.points import load_points
from sacbnet.spatial.grid import Grid

from .cases import Case
from .read import check_labels, load_case

_LEAST_VOXELS = 32  # the coarsest of five levels then has two voxels


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or may be wrong, with a dataset.

    Parameters
    ----------
    severity : {"error", "warning"}
        "error": packing or training would fail or learn nonsense.
    case : str
        The name of the case; "" if the finding concerns the set.
    sentence : str
        What was found, and the remedy.
    """

    severity: Literal["error", "warning"]
    case: str
    sentence: str


@dataclass(frozen=True)
class _Seen:
    """What is kept of a case that could be read.

    values: the label values without 0; None if the case has no labels. points: their number; None
    if the case has none.
    """

    grid: Grid
    digest: bytes
    values: frozenset[int] | None
    points: int | None


def check(
    cases: Sequence[Case],
    pairs: Sequence[tuple[int, int]] = (),
    align: Alignment = "header",
    progress: Callable[[str, float], None] | None = None,
) -> list[Finding]:
    """Check a dataset.

    Parameters
    ----------
    cases : sequence of Case
        The cases.
    pairs : sequence of (int, int), default ()
        Pairs (moving, fixed), as indices of the cases.
    align : {"header", "centre"}, default "header"
        How the set will be packed. With "centre" the places of the images in the world do not
        matter.
    progress : callable, optional
        Called with the name of each case and the fraction that is done.

    Returns
    -------
    list of Finding
        The findings about the cases, in their order, then those about the set and the pairs.
    """
    findings: list[Finding] = []
    seen: dict[int, _Seen] = {}
    for n, case in enumerate(cases):
        if progress is not None:
            progress(case.name, n / len(cases))
        found = _look(case, findings)
        if found is not None:
            seen[n] = found
    findings += _label_values(cases, seen)
    findings += _duplicates(cases, seen)
    findings += _differences(cases, seen)
    findings += _pairs(cases, pairs, seen)
    if align == "header":
        findings += _apart(cases, pairs, seen)
    return findings


def _look(case: Case, findings: list[Finding]) -> _Seen | None:
    """Read a case and note the findings about it alone; None if it cannot be read."""

    def note(severity: Literal["error", "warning"], sentence: str) -> None:
        findings.append(Finding(severity, case.name, sentence))

    try:
        image, labels = load_case(case)
    except SacbnetError as error:
        note("error", str(error))
        return None
    for sentence in image.warnings:
        note("warning", sentence)
    if min(image.grid.shape) < _LEAST_VOXELS:
        note(
            "warning",
            f"{image.name} measures {_times(image.grid.shape)} voxels; below {_LEAST_VOXELS} along"
            " an axis the coarsest level of the network has nothing to match",
        )
    values = None
    if labels is not None:
        try:
            check_labels(image, labels)
        except SacbnetError as error:
            note("error", str(error))
        values = _values(labels, note)
    points = None
    if case.points is not None:
        try:
            points = len(load_points(case.points).xyz)
        except SacbnetError as error:
            note("error", str(error))
    return _Seen(image.grid, hashlib.sha256(image.data.tobytes()).digest(), values, points)


def _values(
    labels: Image, note: Callable[[Literal["error", "warning"], str], None]
) -> frozenset[int]:
    values, counts = np.unique(labels.data, return_counts=True)
    below = values < 0
    if below.any():
        note(
            "warning",
            f"{labels.name} holds the negative label values {_list(values[below].tolist())} in"
            f" {counts[below].sum()} voxels; they are taken for padding and become 0",
        )
    return frozenset(values[values > 0].tolist())


def _label_values(cases: Sequence[Case], seen: Mapping[int, _Seen]) -> Iterator[Finding]:
    """Cases without labels although others have some, and unusual label values.

    Usual are the values that more than half of the cases have.
    """
    labelled = {n: s.values for n, s in seen.items() if s.values is not None}
    if not labelled:
        return
    count = Counter(value for values in labelled.values() for value in values)
    usual = {value for value, times in count.items() if 2 * times > len(labelled)}
    for n in seen:
        if n not in labelled:
            yield Finding(
                "warning",
                cases[n].name,
                f"has no labels, as {len(labelled)} other cases have; give it some",
            )
            continue
        missing, extra = sorted(usual - labelled[n]), sorted(labelled[n] - usual)
        parts = [f"lack {_list(missing)}"] if missing else []
        parts += [f"hold {_list(extra)} besides"] if extra else []
        if parts:
            sentence = (
                f"its labels {' and '.join(parts)}, unlike those of most cases; check that they"
                " mean the same"
            )
            yield Finding("warning", cases[n].name, sentence)


def _duplicates(cases: Sequence[Case], seen: Mapping[int, _Seen]) -> Iterator[Finding]:
    first: dict[bytes, int] = {}
    for n, found in seen.items():
        earlier = first.setdefault(found.digest, n)
        if earlier != n:
            sentence = f"holds the same voxels as {cases[earlier].name}; leave one of them out"
            yield Finding("warning", cases[n].name, sentence)


def _differences(cases: Sequence[Case], seen: Mapping[int, _Seen]) -> Iterator[Finding]:
    """One finding for different shapes, spacings and orientations each, with examples."""
    kinds: dict[str, Callable[[Grid], str]] = {
        "shapes": lambda grid: _times(grid.shape),
        "spacings": lambda grid: _times(float(f"{s:.3g}") for s in grid.spacing) + " mm",
        "orientations": lambda grid: "".join(aff2axcodes(grid.affine)),
    }
    for what, of in kinds.items():
        examples: dict[str, str] = {}
        for n, found in seen.items():
            examples.setdefault(of(found.grid), cases[n].name)
        if len(examples) > 1:
            some = ", ".join(f"{kind} in {name}" for kind, name in list(examples.items())[:3])
            more = ", ..." if len(examples) > 3 else ""
            sentence = (
                f"the images have {len(examples)} {what} ({some}{more}); packing brings them to one"
                " grid"
            )
            yield Finding("warning", "", sentence)


def _pairs(
    cases: Sequence[Case], pairs: Sequence[tuple[int, int]], seen: Mapping[int, _Seen]
) -> Iterator[Finding]:
    for (moving, fixed), times in Counter(pairs).items():
        m, f = cases[moving].name, cases[fixed].name
        if moving == fixed:
            yield Finding(
                "error", m, f"a pair has {m} as moving and as fixed image; two cases were expected"
            )
        if times > 1:
            yield Finding(
                "warning",
                f,
                f"the pair of {m} (moving) and {f} (fixed) is listed {times} times; list it once",
            )
        counts = [seen[n].points for n in (moving, fixed) if n in seen]
        if len(counts) == 2 and None not in counts and counts[0] != counts[1]:
            sentence = (
                f"{m} has {counts[0]} points and {f} {counts[1]}; a pair needs as many in both, in"
                " one order"
            )
            yield Finding("error", f, sentence)


def _apart(
    cases: Sequence[Case], pairs: Sequence[tuple[int, int]], seen: Mapping[int, _Seen]
) -> Iterator[Finding]:
    """Cases that share no place in the world with the first case or with the other case of a pair.

    A pack takes its box from the first case.
    """
    first = next(iter(seen), 0)
    against = {(first, n): None for n in seen if n != first} | dict.fromkeys(pairs)
    for a, b in against:
        if a in seen and b in seen and a != b and not seen[a].grid.meets(seen[b].grid):
            places = [_list(seen[n].grid.centre.round().astype(int).tolist()) for n in (b, a)]
            yield Finding(
                "error",
                cases[b].name,
                f"lies about ({places[0]}) mm and shares no place with {cases[a].name} about"
                f" ({places[1]}) mm; repair the headers, or align by the centres",
            )


def _times(values: object) -> str:
    return " × ".join(f"{v:g}" for v in values)  # type: ignore[attr-defined]


def _list(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:8])) + (
        f" and {len(values) - 8} more" if len(values) > 8 else ""
    )
