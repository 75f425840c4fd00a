"""The sets of real pairs that the benchmarks register: which pairs, and which labels count."""

from __future__ import annotations

from dataclasses import dataclass

LPBA_54 = (
    *range(21, 35),
    *range(41, 51),
    *range(61, 69),
    *range(81, 93),
    *(101, 102, 121, 122),
    *range(161, 167),
)


@dataclass(frozen=True)
class PairSet:
    """A list of pairs.

    pairs: (moving, fixed), names of files in images/ and labels/ without .nii.gz. A script that
    takes fewer pairs takes the first. labels: the labels to score; () means all that a pair has.
    """

    pairs: tuple[tuple[str, str], ...]
    labels: tuple[int, ...] = ()


_LPBA = ("S36", "S37", "S38", "S39", "S40")
_MALF = (1001, 1002, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015, 1017, 1036)
SETS = {
    "malf": PairSet(tuple((str(n), "1000") for n in _MALF)),
    "lpba40": PairSet(
        tuple((_LPBA[(n + step) % 5], _LPBA[n]) for step in range(1, 5) for n in range(5)), LPBA_54
    ),
}
