"""Scales of the page: colours with their values, round numbers, and the lines of the grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import pictures as p
from .figures import Panel
from .markup import Html, element

_LINES = 24  # of the deformed grid along the longest side, at most


def colour_scale(colours: Sequence[p.Colour], ticks: Sequence[str], words: str) -> Html:
    """A scale of colours.

    Parameters
    ----------
    colours : sequence of (red, green, blue)
        The colours, at even distances.
    ticks : sequence of str
        Values at even distances, the first and the last at the ends.
    words : str
        What is shown, with the unit.

    Returns
    -------
    Html
        A bar with its values.
    """
    run = ", ".join(f"rgb({r} {g} {b})" for r, g, b in colours)
    return element(
        "div",
        element("span", words, class_="unit"),
        element("div", class_="bar", style=f"background:linear-gradient(to right, {run})"),
        element("div", *(element("span", tick) for tick in ticks), class_="ticks"),
        class_="scale",
    )


def nice(value: float) -> float:
    """The next larger round number: 1, 1.5, 2, 3, 5 or 7 times a power of ten.

    Parameters
    ----------
    value : float
        A positive number.

    Returns
    -------
    float
        The number; `value` itself if it is 0 or not finite.

    Examples
    --------
    >>> nice(3.1), nice(0.02), nice(8)
    (5.0, 0.02, 10.0)
    """
    if not np.isfinite(value) or value <= 0:
        return value
    power = int(np.floor(np.log10(value)))
    rounds = (float(f"{m}e{power}") for m in ("1", "1.5", "2", "3", "5", "7", "10"))
    return next(x for x in rounds if x >= value * (1 - 1e-9))


def grid_step(panels: Sequence[Panel]) -> float:
    """Choose the distance between the lines of the deformed grid.

    Parameters
    ----------
    panels : sequence of Panel
        The planes.

    Returns
    -------
    float
        The distance in mm.
    """
    return step_of(max(max(panel.cut.size_mm) for panel in panels))


def step_of(longest_mm: float) -> float:
    """Choose the distance between the lines of a grid.

    Parameters
    ----------
    longest_mm : float
        The longest side of what is shown, mm.

    Returns
    -------
    float
        The distance in mm.
    """
    return nice(longest_mm / _LINES)
