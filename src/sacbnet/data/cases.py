"""Which images there are and which are paired; from a folder, a CSV, Learn2Reg's JSON or TransMorph's pickles.

No reader of images is imported here: a training from a pack (`sacbnet.data.pack`) chooses and pairs its cases by the
same rules, on machines that have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from sacbnet.config.choices import PAIRINGS
from sacbnet.errors import InputError

_GOLDEN = (5**0.5 - 1) / 2
_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(-?\d*))?")


@dataclass(frozen=True)
class Case:
    """One subject.

    name: unique in its set, the path below the set's folder without suffixes ("S11", "Train/subject_3"). image: what
    `io.images.load_image` reads, or a TransMorph pickle, which holds its labels, too. points: landmarks, what
    `io.points.load_points` reads.
    """

    name: str
    image: Path
    labels: Path | None = None
    points: Path | None = None


@dataclass(frozen=True)
class PairList:
    """Cases in the natural order of their names, and the pairs (moving, fixed) that the source names, as indices."""

    cases: tuple[Case, ...]
    pairs: tuple[tuple[int, int], ...] = ()


def read_cases(source: str | Path) -> PairList:
    """The cases of a source (docs/data.md shows each kind), and its pairs where it names any.

    source: a folder (images/ with labels/ and points/ beside it; or images; or TransMorph pickles), a .csv, or a
    Learn2Reg .json. Images are not opened. Raises InputError that names the file, and the row, of what is wrong.
    """
    from .source import expected, source_of  # which needs the readers' lists of formats

    source = Path(source)
    found = source_of(source)
    if found is not None:
        return found.read(source)
    problem = "is no list of cases" if source.exists() else "does not exist"
    raise InputError(f"{source} {problem}; {expected()} was expected")


def is_source(path: str | Path) -> bool:
    """Say whether `read_cases` reads a file or folder.

    Parameters
    ----------
    path : str or Path
        Any path.

    Returns
    -------
    bool
        True if it is there and a source recognises it.
    """
    from .source import source_of  # which needs the readers' lists of formats

    return source_of(Path(path)) is not None


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key: numbers within a name by their value, so that subject_9 comes before subject_10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(p), p) if p[0].isdecimal() else (1, 0, p) for p in parts)


def select(cases: Sequence[Case] | Sequence[str], subset: str) -> tuple[int, ...]:
    """Indices of the cases (or names) that a subset means, in the natural order of their names.

    subset: "" for all; a slice as in Python over the cases in that order ("0:160", "-40:"); a name or a glob on the
    names ("Train/*"); or several of these joined by commas. Raises InputError where a part means no case.

    >>> select(["s1", "s10", "s2"], "0:2")
    (0, 2)
    """
    names = _names(cases)
    order = sorted(range(len(names)), key=lambda n: natural(names[n]))
    if not subset.strip():
        return tuple(order)
    found: set[int] = set()
    for part in (p.strip() for p in subset.split(",")):
        chosen = _part(part, names, order)
        if not chosen:
            raise InputError(
                f"the subset {part!r} means none of the {len(names)} cases ({_some(names, order)})"
            )
        found.update(chosen)
    return tuple(n for n in order if n in found)


def _part(part: str, names: Sequence[str], order: Sequence[int]) -> list[int]:
    match = _SLICE.fullmatch(part)
    if match is None:
        return [n for n in order if names[n] == part or fnmatchcase(names[n], part)]
    start, stop, step = (int(g) if g not in (None, "", "-") else None for g in match.groups())
    if step == 0:
        raise InputError(
            f"the subset {part!r} has a step of 0; a slice as in Python was expected, such as 0:160"
        )
    return list(order[start:stop:step])


def pair_up(
    cases: Sequence[Case] | Sequence[str],
    chosen: Sequence[int],
    how: str,
    atlas: str = "",
    listed: Sequence[tuple[int, int]] = (),
) -> tuple[tuple[int, int], ...]:
    """Pairs (moving, fixed) of the chosen cases, as indices of all cases.

    how: "all", each ordered pair of different cases; "cyclic", each case as fixed, the next one as moving; "atlas",
    the one case that the name or glob `atlas` means as moving, each other chosen one as fixed; "listed", those of
    `listed` whose both cases are chosen. Raises InputError where no pair comes out.

    >>> pair_up(["a", "b", "c"], (0, 1, 2), "cyclic")
    ((1, 0), (2, 1), (0, 2))
    """
    if how == "all":
        pairs = tuple((m, f) for f in chosen for m in chosen if m != f)
    elif how == "cyclic":
        following = (*chosen[1:], *chosen[:1])
        pairs = tuple((m, f) for m, f in zip(following, chosen, strict=True) if m != f)
    elif how == "atlas":
        moving = _atlas(cases, atlas)
        pairs = tuple((moving, f) for f in chosen if f != moving)
    elif how == "listed":
        pairs = tuple((m, f) for m, f in listed if m in chosen and f in chosen)
    else:
        raise InputError(
            f"the pairing {how!r} is unknown; one of {', '.join(PAIRINGS)} was expected"
        )
    if not pairs:
        among = f"{len(chosen)} chosen cases" + (
            f" and {len(listed)} listed pairs" if how == "listed" else ""
        )
        raise InputError(
            f"the pairing {how!r} makes no pair of {among}; choose more cases or another pairing"
        )
    return pairs


def spread(pairs: Sequence[tuple[int, int]], limit: int) -> tuple[tuple[int, int], ...]:
    """At most `limit` of the pairs (0: all), in their order, spread evenly: one from each of `limit` equal stretches.

    Within its stretch each stands elsewhere, by steps of the golden section; at one step throughout, all pairs of "all"
    that are taken could share an image.

    >>> spread(pair_up("abcd", (0, 1, 2, 3), "all"), 4)
    ((1, 0), (2, 1), (0, 2), (2, 3))
    """
    if not 0 < limit < len(pairs):
        return tuple(pairs)
    ends = [n * len(pairs) // limit for n in range(limit + 1)]
    return tuple(
        pairs[low + int(n * _GOLDEN % 1 * (high - low))]
        for n, (low, high) in enumerate(pairwise(ends))
    )


def _atlas(cases: Sequence[Case] | Sequence[str], atlas: str) -> int:
    found = select(cases, atlas) if atlas else ()
    if len(found) != 1:
        raise InputError(
            f"the atlas {atlas!r} means {len(found)} cases; the name of one case was expected"
        )
    return found[0]


def _names(cases: Sequence[Case] | Sequence[str]) -> list[str]:
    return [c if isinstance(c, str) else c.name for c in cases]


def _some(names: Sequence[str], order: Sequence[int]) -> str:
    return ", ".join(names[n] for n in order[:3]) + (", ..." if len(names) > 3 else "")
