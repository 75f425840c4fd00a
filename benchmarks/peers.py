"""Register real pairs by ANTs' SyN and by greedy, and score them as we score ourselves.

    python3 -m venv ENV && ENV/bin/pip install -r benchmarks/peers-requirements.txt
    python benchmarks/peers.py malf FOLDER --python ENV/bin/python --csv FILE [--methods greedy syn] [--threads 1]
    python benchmarks/peers.py lpba40 FOLDER --python ENV/bin/python --csv FILE
    python benchmarks/peers.py --summary --csv FILE

The tools run in ENV, with the options that `peers_worker.py` tells, one process a registration; this Python scores.
LPBA40 is affinely aligned, so both tools leave out their affine stage there ("SyNOnly", from the identity). FILE gets a
row a pair and method; what it has is not done again, and a pair that fails is told and tried again next time.

Dice (nearest: the tool warps the labels, once, through all that it found) and HD95 are means over the labels of
`metrics.present_labels`, as in `real_pairs.py` and `sacbnet evaluate`: a label of one image only counts as a Dice of 0
(`labels_one_sided` tells how many: Dice * labels / (labels - labels_one_sided) is the mean over those of both), and is
left out of HD95, as are those that vanish (`hd95_left_out`). Folding is of the whole transform, on the fixed grid.
Seconds are of the registration, by the clock (affine_s, deformable_s; greedy's hold its reading of the images); cpu_s
and peak_mb are of the tool's whole process up to there. SyN's random seed is 1; greedy is given none, and two runs
differ a little (Dice .623 and .626 on one pair of MALF).
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sets import SETS, PairSet

from sacbnet.apply import carry
from sacbnet.errors import GridError, SacbnetError
from sacbnet.io.images import Image, load_image
from sacbnet.io.transforms import load_affine, load_displacement
from sacbnet.metrics import dice_of_present, folding, hausdorff95, present_labels
from sacbnet.report.statistics import summarise
from sacbnet.spatial.transforms import Affine, DisplacementField, chain

WORKER = Path(__file__).with_name("peers_worker.py")
KEY = ("set", "fixed", "moving", "method")
MEASURES = (
    "dice", "hd95_mm", "hd95_left_out", "folded_percent", "non_diffeomorphic_percent", "sd_log_jacobian", "affine_s",
    "deformable_s", "cpu_s", "peak_mb",
)  # fmt: skip
COLUMNS = (*KEY, "labels", "labels_one_sided", *MEASURES, "threads", "tool")
SAME = 0.98  # of the labelled voxels; the rest lie half-way between two of the moving image
Row = dict[str, Any]


def run_tool(python: str, method: str, folder: Path, aligned: bool, threads: int) -> Row:
    """The worker in `folder`, which holds its three images; returns its account, with the seconds of each stage."""
    command = [python, str(WORKER.resolve()), method, "--threads", str(threads), *(["--aligned"] if aligned else [])]
    with (folder / "log.txt").open("w") as log:
        subprocess.run(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=True)
    account = json.loads((folder / "worker.json").read_text())
    if method == "syn":
        account["seconds"] = stage_seconds((folder / "log.txt").read_text(), aligned)
    return account


def stage_seconds(log: str, aligned: bool) -> dict[str, float]:
    """What antsRegistration says of its stages, in their order."""
    found = re.findall(r"Elapsed time \(stage \d+\): (\S+)", log)
    return dict(zip(("deformable",) if aligned else ("affine", "deformable"), map(float, found), strict=True))


def transform_of(folder: Path) -> DisplacementField:
    """The whole transform on the fixed grid: a fixed point goes through the warp, and then through the affine."""
    warp, affine = load_displacement(folder / "warp.nii.gz"), Affine()
    if (folder / "affine_ras.txt").exists():
        affine = Affine(np.loadtxt(folder / "affine_ras.txt"))
    elif (folder / "affine.mat").exists():
        affine = load_affine(folder / "affine.mat")
    return DisplacementField.from_map(chain(affine, warp), load_image(folder / "fixed.nii.gz").grid.orthogonal())


def score(folder: Path, fixed: Image, moving: Image, asked: tuple[int, ...]) -> Row:
    """fixed, moving: label maps. Raises GridError where the transform, as we read it, is not what moved the labels."""
    labels = present_labels(moving.data, fixed.data, asked)
    moved, transform = load_image(folder / "moved_labels.nii.gz", "labels").data, transform_of(folder)
    ours = carry(moving, fixed, transform, "nearest").data
    same = float((moved == ours)[(moved > 0) | (ours > 0)].mean())
    if same < SAME:
        raise GridError(f"the transform in {folder} moves {same:.1%} of the labels where the tool did; check its frame")
    distances = hausdorff95(moved, fixed.data, labels, tuple(fixed.grid.spacing))
    both = [d for d in distances.values() if np.isfinite(d)]
    folds, in_both = folding(transform), set(np.unique(fixed.data)) & set(np.unique(moving.data))
    return {
        "labels": len(labels),
        "labels_one_sided": len(set(labels) - in_both),
        "dice": float(np.mean(list(dice_of_present(moved, fixed.data, labels).values()))),
        "hd95_mm": float(np.mean(both)) if both else float("nan"),
        "hd95_left_out": len(labels) - len(both),
        "folded_percent": folds.folded_percent,
        "non_diffeomorphic_percent": folds.non_diffeomorphic_percent,
        "sd_log_jacobian": folds.sd_log_jacobian,
    }


def run_pair(data: Path, moving: str, fixed: str, method: str, pairs: PairSet, o: argparse.Namespace) -> Row:
    """Registered and scored in a folder of its own, under names without spaces: greedy would split them."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = {"fixed": ("images", fixed), "moving": ("images", moving), "labels": ("labels", moving)}
        for name, (kind, case) in files.items():
            (folder / f"{name}.nii.gz").symlink_to((data / kind / f"{case}.nii.gz").resolve())
        account = run_tool(o.python, method, folder, pairs.aligned, o.threads)
        of_fixed, of_moving = (load_image(data / "labels" / f"{name}.nii.gz", "labels") for name in (fixed, moving))
        found = score(folder, of_fixed, of_moving, pairs.labels)
    return found | {
        "affine_s": account["seconds"].get("affine", 0.0),
        "deformable_s": account["seconds"]["deformable"],
        "cpu_s": account["processor_seconds"],
        "peak_mb": account["peak_memory_mb"],
        "threads": o.threads,
        "tool": account["tool"],
    }


def read_rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(path: Path, row: Row) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if fresh:
            writer.writeheader()
        writer.writerow({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in row.items()})


def summary(rows: list[Row]) -> str:
    """A table in Markdown: mean ± SD over the pairs of each set and method."""
    lines = [f"| set | method | pairs | {' | '.join(MEASURES)} |", "|---" * (3 + len(MEASURES)) + "|"]
    for which in dict.fromkeys((row["set"], row["method"]) for row in rows):
        those = [row for row in rows if (row["set"], row["method"]) == which]
        cells = [summarise(float(row[name]) for row in those) for name in MEASURES]
        told = [f"{cell.mean:.4g} ± {cell.sd:.2g}" for cell in cells]
        lines.append(f"| {which[0]} | {which[1]} | {len(those)} | {' | '.join(told)} |")
    return "\n".join(lines)


def run_set(o: argparse.Namespace) -> int:
    """All that the CSV lacks, method by method; returns how many failed."""
    pairs, failed = SETS[o.set], 0
    done = {tuple(row[name] for name in KEY) for row in read_rows(o.csv)}
    todo = [(o.set, f, m, method) for method in o.methods for m, f in pairs.pairs[: o.pairs]]
    for key in (key for key in todo if key not in done):
        _, fixed, moving, method = key
        try:
            row = run_pair(o.folder, moving, fixed, method, pairs, o)
        except (SacbnetError, subprocess.CalledProcessError) as error:
            print(f"{method} {moving} -> {fixed} failed: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        append(o.csv, dict(zip(KEY, key, strict=True)) | row)
        print(f"{method} {moving} -> {fixed}: Dice {row['dice']:.3f}, processor {row['cpu_s']:.0f} s", flush=True)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", nargs="?", choices=SETS)
    parser.add_argument("folder", nargs="?", type=Path, help="with images/ and labels/")
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--python", help="the interpreter of the environment that has the tools")
    parser.add_argument("--methods", nargs="+", choices=("greedy", "syn"), default=["greedy", "syn"])
    parser.add_argument("--pairs", type=int, help="so many, the first")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--summary", action="store_true")
    o = parser.parse_args()
    if o.summary:
        print(summary(read_rows(o.csv)))
        return
    if None in (o.set, o.folder, o.python):
        parser.error("a set, its folder and --python are needed, or --summary")
    torch.set_num_threads(o.threads)
    sys.exit(int(run_set(o) > 0))


if __name__ == "__main__":
    main()
