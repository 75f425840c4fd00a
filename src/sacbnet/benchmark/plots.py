"""Box plots of Dice by structure, with one box for each method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacbnet.data.cases import natural
from sacbnet.evaluation.scoring import Row
from sacbnet.files import atomic_file

from .comparison import over_seeds

BOXES, BOX_INCHES = 108, 0.15  # most boxes in one row of the picture; width of each
ROW_INCHES = 2.2


def boxplots(path: Path, rows: Sequence[Row], methods: Sequence[str], title: str) -> bool:
    """Draw the Dice (labels warped by nearest neighbour) of each structure over the pairs.

    A box spans the quartiles, with a line at the median. Whiskers reach to the farthest pair within
    1.5 times the height of the box. Pairs beyond are points.

    Parameters
    ----------
    path : Path
        The picture to write; its suffix is the format.
    rows : sequence of Row
        Rows of labels.csv.
    methods : sequence of str
        Methods to draw, in this order.
    title : str
        Heading of the picture.

    Returns
    -------
    bool
        False where there is nothing to draw, or matplotlib is not installed.

    Raises
    ------
    OutputError
        Where the picture cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    labels = sorted({row["label"] for row in rows}, key=natural)
    found = {
        label: over_seeds([r for r in rows if r["label"] == label], "dice_nearest", methods)
        for label in labels
    }
    shown = [method for method in methods if any(method in of_label for of_label in found.values())]
    if not shown:
        return False
    at_once = max(1, BOXES // (len(shown) + 1))
    lines = -(-len(labels) // at_once)
    at_once = -(-len(labels) // lines)  # evenly
    width = max(8.0, 1.2 + BOX_INCHES * at_once * (len(shown) + 1))
    columns = max(1, int(width // 1.7))  # of the legend
    head = 0.5 + 0.17 * -(-len(shown) // columns)  # inches above the first row
    figure: Any = Figure(figsize=(width, head + ROW_INCHES * lines), dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, 1, squeeze=False, sharey=True)[:, 0]
    looks = _looks(len(shown))
    for n, axis in enumerate(axes):
        row = labels[n * at_once : (n + 1) * at_once]
        _row(axis, {label: found[label] for label in row}, shown, looks, at_once)
    _head(figure, title, _handles(shown, looks), columns, head)
    with atomic_file(path) as part:
        figure.savefig(part)
    return True


def _head(figure: Any, title: str, handles: list[Any], columns: int, head: float) -> None:
    """Title and legend, above the rows of the picture."""
    width, total = figure.get_size_inches()
    figure.suptitle(title, y=1 - 0.12 / total, va="top", fontsize=10)
    figure.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 1 - 0.32 / total), frameon=False,
        fontsize=8, ncols=min(len(handles), columns),
    )  # fmt: skip
    figure.subplots_adjust(
        left=0.65 / width,
        right=1 - 0.15 / width,
        top=1 - head / total,
        bottom=0.5 / total,
        hspace=0.28,
    )


def _row(
    axis: Any,
    found: dict[str, Any],
    methods: Sequence[str],
    looks: Sequence[dict[str, Any]],
    places: int,
) -> None:
    """One row of the picture: a group of boxes for each label."""
    step = len(methods) + 1
    for group, of_label in enumerate(found.values()):
        for n, method in enumerate(methods):
            values = list(of_label.get(method, {}).values())
            if not values:
                continue
            parts = axis.boxplot(
                values, positions=[group * step + n], widths=0.8, patch_artist=True,
                manage_ticks=False, medianprops={"color": "black", "linewidth": 1.2},
                boxprops={"linewidth": 0.6}, whiskerprops={"linewidth": 0.6},
                capprops={"linewidth": 0.6}, flierprops={"markersize": 2},
            )  # fmt: skip
            parts["boxes"][0].set(**looks[n])
        if group:
            axis.axvline(group * step - 1, color="0.85", linewidth=0.6)
    axis.set_xticks(
        [group * step + (len(methods) - 1) / 2 for group in range(len(found))],
        list(found),
        fontsize=8,
    )
    axis.set_xlim(-1, places * step - 1)
    axis.tick_params(axis="y", labelsize=8)
    axis.set_ylabel("Dice, nearest", fontsize=8)
    axis.set_xlabel("structure", fontsize=8, labelpad=1)
    axis.grid(axis="y", color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)


def _looks(count: int) -> list[dict[str, Any]]:
    """Colour and hatching of each method's boxes: twenty colours, then the same ones hatched."""
    from matplotlib import colormaps

    return [
        {"facecolor": colormaps["tab20"](n % 20), "hatch": "/////" * (n // 20)}
        for n in range(count)
    ]


def _handles(methods: Sequence[str], looks: Sequence[dict[str, Any]]) -> list[Any]:
    from matplotlib.patches import Patch

    return [
        Patch(edgecolor="black", linewidth=0.6, label=m, **look)
        for m, look in zip(methods, looks, strict=True)
    ]
