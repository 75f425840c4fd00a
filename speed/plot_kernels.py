"""Draw the rows of speed/kernels.py: time against size, and against the number of clusters.

    python speed/plot_kernels.py ROWS.json FILE.png

A row of two panels for each of `adaptive_conv` (level 2) and `network` that was measured, forward
pass.
"""

from __future__ import annotations

import argparse
import json
from math import prod
from pathlib import Path
from typing import Any

CURVES = {
    "ours_s": "ours",
    "naive_s": "published formulation",
    "conv_s": "plain conv3d",
    "roofline_s": "roofline",
}
STYLE = {"ours_s": "o-", "naive_s": "s-", "conv_s": "^--", "roofline_s": "k:"}
CHANNELS = {"adaptive_conv": 16, "network": 1}  # of the rows drawn: level 2's, and images

Row = dict[str, Any]


def plot(rows: list[Row], target: Path) -> None:
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    names = [n for n in CHANNELS if any(_drawn(r, n) for r in rows)]
    if not names:
        raise SystemExit(f"nothing to draw: no forward row of {' or '.join(CHANNELS)}")
    figure = Figure(figsize=(11, 4.2 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 2, squeeze=False)
    for (left, right), name in zip(panels, names, strict=True):
        chosen = [r for r in rows if _drawn(r, name)]
        counts = {r["clusters"] for r in chosen}
        n = 7 if 7 in counts else max(counts)
        by_size = [r for r in chosen if r["clusters"] == n]
        size = _swept(chosen)
        _panel(left, by_size, lambda r: prod(r["shape"][2:]), f"{name}, N = {n}", "voxels")
        left.set_xscale("log")
        by_clusters = [r for r in chosen if r["shape"] == size]
        _panel(
            right,
            by_clusters,
            lambda r: r["clusters"],
            f"{name}, {'×'.join(map(str, size))}",
            "clusters N",
        )
    precision, device, threads = (rows[0][key] for key in ("precision", "device", "threads"))
    figure.suptitle(f"forward pass, {precision}, {device}, {threads} threads")
    figure.savefig(target, dpi=150)


def _drawn(row: Row, name: str) -> bool:
    forward = row["pass"] == "forward"  # noqa: S105 - a pass of a network is no password
    return row["name"] == name and forward and row["shape"][1] == CHANNELS[name]


def _swept(rows: list[Row]) -> list[int]:
    """The shape with the most numbers of clusters, also in the published form.

    Of several such shapes, the largest.
    """

    def richness(shape: list[int]) -> tuple[int, int, int]:
        here = [r for r in rows if r["shape"] == shape]
        return len(here), sum(r["naive_s"] is not None for r in here), prod(shape)

    return max((r["shape"] for r in rows), key=richness)


def _panel(axes: Any, rows: list[Row], x: Any, title: str, label: str) -> None:
    for key, name in CURVES.items():
        points = sorted((x(r), r[key]) for r in rows if r[key] is not None)
        if points:
            axes.plot(*zip(*points, strict=True), STYLE[key], label=name)
    axes.set(title=title, xlabel=label, ylabel="seconds", yscale="log")
    axes.grid(which="both", alpha=0.2)
    axes.legend()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, help="what speed/kernels.py --json wrote")
    parser.add_argument("out", type=Path, help="the picture to write (.png)")
    arguments = parser.parse_args()
    plot(json.loads(arguments.rows.read_text()), arguments.out)
