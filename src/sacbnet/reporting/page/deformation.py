"""The part of the page that shows what the transform does: grid, volumes, lengths, error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import pictures as p
from .figures import Panel, figure, img, planes
from .markup import Html, element, joined
from .scales import colour_scale, grid_step, nice

_LEAST_LOG = 0.1  # end of the scale of log J, at least
_NEARLY_ALL = 98.5  # per cent of the pixels lie within a scale


def deformation(panels: Sequence[Panel], level: str = "h3") -> Html:
    """Show the deformed grid and the maps of one place.

    Parameters
    ----------
    panels : sequence of Panel
        The planes.
    level : str, default "h3"
        Element of the headings.

    Returns
    -------
    Html
        A row of planes for each map.
    """
    rows = [_grid(panels, level), _volume(panels, level), _length(panels, level)]
    if all(panel.cut.error is not None for panel in panels):
        rows.append(_error(panels, level))
    return joined(rows)


def _row(level: str, title: str, words: str, *parts: Html) -> Html:
    return element("div", element(level, title), element("p", words), *parts, class_="row")


def _grid(panels: Sequence[Panel], level: str) -> Html:
    step = grid_step(panels)
    return _row(
        level,
        "Deformed grid",
        f"An even grid of {step:g} mm on the moving image, carried onto the fixed grid like the"
        " image itself. The affine part is left out.",
        planes(
            figure(
                panel,
                img(panel.steps["moved"], f"Moved image, {panel.cut.plane.name} plane"),
                img(panel.grid(step), "Deformed grid", "over"),
            )
            for panel in panels
        ),
    )


def _volume(panels: Sequence[Panel], level: str) -> Html:
    values = [panel.cut.log_jacobian for panel in panels]
    end = nice(max(_LEAST_LOG, nearly_largest([np.abs(x) for x in values])))
    folded = any(np.isnan(x).any() for x in values)
    words = (
        "Natural logarithm of the Jacobian determinant, which has no unit. Blue: the moving image"
        " has less volume here than the fixed image. Orange: more."
    )
    ticks = [
        f"−{end:g} or less (volume × {np.exp(-end):.2g})",
        "0",
        f"{end:g} or more (× {np.exp(end):.2g})",
    ]
    return _row(
        level,
        "Change of volume",
        words + (" Magenta: folded." if folded else ""),
        _maps(panels, values, -end, end, p.DIVERGING, "Change of volume"),
        colour_scale(p.DIVERGING, ticks, "log J"),
    )


def _length(panels: Sequence[Panel], level: str) -> Html:
    values = [panel.cut.displacement for panel in panels]
    end = nice(nearly_largest(values)) or 1.0
    return _row(
        level,
        "Displacement",
        "Length of the displacement that is left after the affine part, in mm.",
        _maps(panels, values, 0, end, p.SEQUENTIAL, "Displacement"),
        colour_scale(p.SEQUENTIAL, scale_ticks(end), "displacement, mm"),
    )


def _error(panels: Sequence[Panel], level: str) -> Html:
    values = [panel.cut.error for panel in panels if panel.cut.error is not None]
    end = nice(nearly_largest(values)) or 1.0
    return _row(
        level,
        "Expected error",
        "How far points are off on average, by what the images show, in mm. The reference of the"
        " files says what this map can tell.",
        _maps(panels, values, 0, end, p.SEQUENTIAL, "Expected error"),
        colour_scale(p.SEQUENTIAL, scale_ticks(end), "expected error, mm"),
    )


def nearly_largest(values: Sequence[NDArray[Any]]) -> float:
    """Find the end of a scale: single voxels do not decide.

    Parameters
    ----------
    values : sequence of ndarray
        The values of the map. Those that are not finite do not count.

    Returns
    -------
    float
        The 98.5th percentile; 0 without values.
    """
    known = np.concatenate([x[np.isfinite(x)].ravel() for x in values])
    return float(np.percentile(known, _NEARLY_ALL)) if known.size else 0.0


def scale_ticks(end: float) -> list[str]:
    """Write the values below a scale of colours.

    Parameters
    ----------
    end : float
        The value of the last colour.

    Returns
    -------
    list of str
        The first, the middle and the last value.
    """
    return [f"{share * end:g}" for share in (0, 0.5)] + [f"{end:g} or more"]


def _maps(
    panels: Sequence[Panel],
    values: Sequence[NDArray[Any]],
    low: float,
    high: float,
    colours: Sequence[p.Colour],
    name: str,
) -> Html:
    """The maps in colours, with the edges of the fixed image over them."""
    figures = []
    for panel, x in zip(panels, values, strict=True):
        map_ = p.coloured(p.stretched(x, panel.shape), low, high, colours).uri()
        figures.append(
            figure(
                panel,
                img(map_, f"{name}, {panel.cut.plane.name} plane"),
                img(panel.outline, "Edges of the fixed image", "over faint"),
            )
        )
    return planes(figures)
