"""Curves of training runs: loss and validation Dice by step, from their metrics.csv.

python speed/plot_curves.py OUT.png RUN [RUN ...]
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

SMOOTH = 10  # rows of the loss that are averaged


def column(rows: list[dict[str, str]], name: str) -> tuple[list[int], list[float]]:
    found = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
    return [step for step, _ in found], [value for _, value in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", help="the picture to write (.png)")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of `sacbnet train`")
    arguments = parser.parse_args()
    out, runs = arguments.out, arguments.runs
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    for run in runs:
        rows = list(csv.DictReader((run / "metrics.csv").open()))
        report = json.loads((run / "run.json").read_text())
        steps, loss = column(rows, "loss")
        kernel = np.ones(SMOOTH) / SMOOTH
        (line,) = left.plot(
            steps[SMOOTH - 1 :], np.convolve(loss, kernel, "valid"), label=report["recipe"]["name"]
        )
        steps, dice = column(rows, "validation_dice")
        colour = line.get_color()
        right.plot(
            [0, *steps], [report["state"]["baseline"]["dice"], *dice], "o-", ms=3, color=colour
        )
        best = report["state"]["best"]
        right.annotate(
            f"{best['dice']:.3f}",
            (best["step"], best["dice"]),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=colour,
        )
    left.set(xlabel="step", title=f"training loss, mean of {SMOOTH} rows")
    right.set(xlabel="step", title="validation Dice (labels by nearest)")
    left.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main()
