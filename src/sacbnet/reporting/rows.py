"""The numbers of a registration at its three steps, as the terminal and the page show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it brings torch, which not every verb needs
    from sacbnet.registration.report import RunReport

Three = tuple[float, float, float]


def step_rows(report: RunReport) -> dict[str, Three]:
    """List likeness, and Dice and landmarks where they were given.

    Parameters
    ----------
    report : RunReport
        The account of a registration.

    Returns
    -------
    dict[str, tuple[float, float, float]]
        By name: the value at the start, after the affine, and at the end.
    """
    s, d, marks = report.similarity, report.dice, report.landmarks
    likeness = s.start, s.affine, s.final
    rows: dict[str, Three] = {}

    def add(name: str, values: list[float]) -> None:
        rows[name] = values[0], values[1], values[2]

    add("local correlation", [x.local_correlation for x in likeness])
    add("mutual information", [x.mutual_information for x in likeness])
    if d is not None:
        add("Dice, nearest", [x.nearest for x in (d.start, d.affine, d.final)])
        add("Dice, one-hot linear", [x.onehot for x in (d.start, d.affine, d.final)])
    if marks is not None:
        steps = marks.start, marks.affine, marks.final
        add(f"{marks.final.count} landmarks, mean mm", [x.mean_mm for x in steps])
        add("landmarks, largest mm", [x.max_mm for x in steps])
    return rows
