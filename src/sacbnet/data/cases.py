"""Which images there are, and which are paired.

No reader of images is imported here: a training from a pack (`sacbnet.data.pack`) chooses and pairs
its cases by the same rules, on machines that have no such reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from sacbnet.config.choices import PAIRINGS
from sacbnet.config.validation import choices
from sacbnet.errors import InputError

_GOLDEN = (5**0.5 - 1) / 2  # multiples of the golden section spread evenly over an interval
_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(-?\d*))?")


@dataclass(frozen=True)
class Case:
    """One subject.

    Parameters
    ----------
    name : str
        Unique in its set: the path below the folder of the set, without suffix, such as "S11" or
        "Train/subject_3".
    image : Path
        What `sacbnet.io.images.load_image` reads; or a pickle of TransMorph, which holds its
        labels, too.
    labels : Path, optional
        The label map of the image.
    points : Path, optional
        The landmarks, which `sacbnet.io.points.load_points` reads.
    """

    name: str
    image: Path
    labels: Path | None = None
    points: Path | None = None


@dataclass(frozen=True)
class PairList:
    """The cases and the pairs of a dataset.

    Parameters
    ----------
    cases : tuple of Case
        In the natural order of their names.
    pairs : tuple of (int, int), default ()
        The pairs (moving, fixed) that the dataset names, as indices of the cases.
    """

    cases: tuple[Case, ...]
    pairs: tuple[tuple[int, int], ...] = ()


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Give a key that sorts the numbers within names by their values.

    Parameters
    ----------
    name : str
        The name of a case.

    Returns
    -------
    tuple
        The key for `sorted`.

    Examples
    --------
    >>> sorted(["subject_10", "subject_9"], key=natural)
    ['subject_9', 'subject_10']
    """
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(p), p) if p[0].isdecimal() else (1, 0, p) for p in parts)


@contextmanager
def chosen_by(origin: str) -> Iterator[None]:
    """Add to an error about a subset or a pairing where that choice came from.

    Parameters
    ----------
    origin : str
        Where it came from, such as "--subset" or "the recipe lpba40".

    Yields
    ------
    None

    Raises
    ------
    InputError
        The error of the block, with the origin.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{error} (subset and pairs come from {origin})") from error


def select(cases: Sequence[Case] | Sequence[str], subset: str) -> tuple[int, ...]:
    """Find the cases that a subset means.

    Parameters
    ----------
    cases : sequence of Case or of str
        The cases, or their names.
    subset : str
        ``""`` for all; a slice as in Python over the cases in the natural order of their names
        (``0:160``, ``-40:``); a name, or a glob on the names (``Train/*``); or several of these,
        joined by commas.

    Returns
    -------
    tuple of int
        Indices of the cases, in the natural order of their names.

    Raises
    ------
    InputError
        If a part means no case.

    Examples
    --------
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
    """Make pairs of the chosen cases.

    Parameters
    ----------
    cases : sequence of Case or of str
        All cases, or their names.
    chosen : sequence of int
        Indices of the chosen cases.
    how : {"all", "cyclic", "atlas", "listed"}
        "all": each ordered pair of different cases. "cyclic": each case as fixed, and the next case
        as moving. "atlas": the case that `atlas` means as moving, and each other chosen case as
        fixed. "listed": the pairs of `listed` whose two cases are chosen.
    atlas : str, default ""
        The name of one case, or a glob that means one case.
    listed : sequence of (int, int), default ()
        The pairs (moving, fixed) that the dataset names.

    Returns
    -------
    tuple of (int, int)
        Pairs (moving, fixed), as indices of all cases.

    Raises
    ------
    InputError
        If `how` is unknown, if `atlas` does not mean one case, or if there is no pair.

    Examples
    --------
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
        raise InputError(f"the pairing {how!r} is unknown; {choices(PAIRINGS)} was expected")
    if not pairs:
        among = f"{len(chosen)} chosen cases" + (
            f" and {len(listed)} listed pairs" if how == "listed" else ""
        )
        raise InputError(
            f"the pairing {how!r} makes no pair of {among}; choose more cases or another pairing"
        )
    return pairs


def spread(pairs: Sequence[tuple[int, int]], limit: int) -> tuple[tuple[int, int], ...]:
    """Choose some pairs, spread evenly over all of them.

    The pairs are cut into `limit` equal stretches, and each stretch gives one pair. The place of
    this pair in its stretch moves by steps of the golden section. With one fixed step, all chosen
    pairs of "all" could share an image.

    Parameters
    ----------
    pairs : sequence of (int, int)
        The pairs.
    limit : int
        The largest number of pairs; 0 means all.

    Returns
    -------
    tuple of (int, int)
        The chosen pairs, in their order.

    Examples
    --------
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
