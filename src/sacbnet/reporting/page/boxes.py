"""Box plots as HTML: they fit a phone, follow the theme, and need no drawing library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .markup import Html, element

_REACH = 1.5  # of the height of the box: a value beyond is a point of its own
Values = NDArray[np.float64]
_MOST_POINTS = 60  # of a row: the outermost ones


@dataclass(frozen=True)
class Row:
    """The values of one box.

    Parameters
    ----------
    name : str
        What they belong to.
    values : sequence of float
        The values. Those that are not finite are left out.
    tone : int, default 0
        Which of the colours the box has.
    """

    name: str
    values: Sequence[float]
    tone: int = 0


def box_plot(
    rows: Sequence[Row],
    title: str,
    *,
    how: str = "{:.3f}",
    limits: tuple[float, float] | None = None,
) -> Html:
    """Draw a box for each row, on one scale.

    A box spans the quartiles, with a line at the median. Whiskers reach to the farthest value
    within 1.5 times the length of the box. Values beyond are points.

    Parameters
    ----------
    rows : sequence of Row
        The boxes, from top to bottom.
    title : str
        What the values are, with their unit.
    how : str, default "{:.3f}"
        Format of the medians.
    limits : tuple[float, float] or None, default None
        Ends that the scale has at most: 0 and 1 for Dice. None: 0 or less, and no upper end.

    Returns
    -------
    Html
        The plot; an empty one says that there are no values.
    """
    found = [(row, _finite(row.values)) for row in rows]
    known = [x for _, x in found if x.size]
    if not known:
        return element("p", f"{title}: no values.")
    low, high, ticks = _scale(min(x.min() for x in known), max(x.max() for x in known), limits)
    span = high - low

    def at(value: float) -> float:
        return 100 * (value - low) / span

    lines = [
        element("div", element("span", f"{t:.4g}", style=f"left:{at(t):.3f}%"), class_="tick")
        for t in ticks
    ]
    body = [
        element(
            "li",
            element("span", row.name, class_="name"),
            _track(x, at, row.tone),
            element("span", how.format(float(np.median(x))) if x.size else "–", class_="value"),
        )
        for row, x in found
    ]
    axis = element("div", element("span"), element("div", *lines, class_="axis"), element("span"))
    return element(
        "figure",
        element("figcaption", title, element("span", "median", class_="value")),
        element("ul", *body),
        element("div", axis, class_="foot", aria_hidden="true"),
        class_="boxes",
    )


def grouped(names: Sequence[str], by: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Row]:
    """Make rows of several methods for each label.

    Parameters
    ----------
    names : sequence of str
        The methods, in their order.
    by : mapping of str to mapping of str to sequence of float
        By label and method, the values.

    Returns
    -------
    list of Row
        For each label a row for each method; one colour for each method.
    """
    return [
        Row(f"{label}, {name}" if len(names) > 1 else label, methods[name], tone)
        for label, methods in by.items()
        for tone, name in enumerate(names)
        if name in methods
    ]


def _finite(values: Sequence[float]) -> Values:
    found = np.asarray(list(values), dtype=np.float64)
    return np.asarray(found[np.isfinite(found)])


def _track(values: Values, place: Callable[[float], float], tone: int) -> Html:
    if not values.size:
        return element("div", class_="track")
    q1, median, q3 = np.percentile(values, (25, 50, 75))
    reach = _REACH * (q3 - q1)
    near = values[(values >= q1 - reach) & (values <= q3 + reach)]
    out = np.sort(values[(values < q1 - reach) | (values > q3 + reach)])
    if out.size > _MOST_POINTS:
        half = _MOST_POINTS // 2
        out = np.concatenate([out[:half], out[-half:]])
    a, b = place(near.min()), place(near.max())
    parts = [
        element("i", class_="whisker", style=f"left:{a:.3f}%;width:{b - a:.3f}%"),
        element(
            "i", class_="box", style=f"left:{place(q1):.3f}%;width:{place(q3) - place(q1):.3f}%"
        ),
        element("i", class_="median", style=f"left:{place(median):.3f}%"),
        *(element("i", class_="point", style=f"left:{place(x):.3f}%") for x in out),
    ]
    words = (
        f"median {median:.4g}, quartiles {q1:.4g} and {q3:.4g}, from {values.min():.4g} to"
        f" {values.max():.4g}, {values.size} values"
    )
    return element(
        "div", *parts, class_=f"track tone{tone % 8}", role="img", aria_label=words, title=words
    )


def _step(least: float) -> float:
    """The next larger round step: 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(x * power for x in (1, 2, 2.5, 5, 10) if x * power >= least * (1 - 1e-9)))


def _scale(
    least: float, most: float, limits: tuple[float, float] | None
) -> tuple[float, float, list[float]]:
    """Both ends of a scale, and round values on it."""
    low, high = min(least, 0.0), max(most, 0.0)
    if limits is not None:  # the part that the values need, but not less than a quarter of it
        room = 0.25 * (limits[1] - limits[0])
        low = max(limits[0], min(least - 0.1 * (most - least), most - room))
        high = min(limits[1], max(most + 0.1 * (most - least), low + room))
    step = _step(max(high - low, 1e-9) / 5)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    ticks = [float(round(n * step, 12)) for n in np.arange(first, last + 1)]
    return ticks[0], max(ticks[-1], ticks[0] + step), ticks
