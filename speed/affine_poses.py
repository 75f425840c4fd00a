"""Does the affine alignment find real heads again, wherever their headers put them?

    python speed/affine_poses.py FOLDER --pairs S36:S37 S38:S40 [--poses 30] [--seed 0] [--jobs 2]
                                 [--json FILE]

FOLDER holds images/ and labels/ (NAME.nii.gz). Pairs are MOVING:FIXED. Each pair is first aligned
with its own headers, as the pipeline does it (`registration.prepare`, `registration.affine`). This
gives the reference T. Then the moving image's header is changed by a random pose P: turned within
±30° about each axis and scaled by .85 to 1.15 about the middle of its box, and shifted within
±40 mm along each axis. The alignment from there, T_posed, should be P∘T.

A pose is recovered if |T_posed(p) - P(T(p))|, averaged over the foreground voxels p of the fixed
image, is below 5 mm, AND the mean Dice of the labels (nearest, on the fixed image's grid) is at
most .02 below that of T. Seconds are processor seconds of `align` alone, in one thread. --jobs
poses run at a time, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sets import LPBA_54

from sacbnet.imaging.image import Image
from sacbnet.imaging.intensities import foreground
from sacbnet.io.images import load_image
from sacbnet.metrics.overlap import dice, present_labels
from sacbnet.registration.affine import AffineKind, align
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.prepare import prepare
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine

DEGREES, MM, SCALES = 30.0, 40.0, (0.85, 1.15)
NEAR_MM, NEAR_DICE = 5.0, 0.02
TITLES = (
    "| pair | recovered | mean mm | max mm | Dice, headers | Dice | posed headers | Dice, posed"
    " | least | s |"
)


@dataclass(frozen=True)
class Task:
    """One alignment.

    pose: number of the pose, None for the pair as it is. reference: the 4x4 found without a pose,
    empty in the run that finds it.
    """

    folder: Path
    moving: str
    fixed: str
    kind: AffineKind
    pose: int | None
    seed: int
    reference: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What one alignment found.

    matrix: 4x4, fixed -> moving (posed). dice_start: with the headers alone. distance_mm: from the
    reference.
    """

    pair: str
    pose: int | None
    matrix: tuple[tuple[float, ...], ...]
    dice_start: float
    dice: float
    distance_mm: float
    seconds: float


def random_pose(rng: np.random.Generator, centre: NDArray[np.float64]) -> Affine:
    """World -> world: turned and scaled about `centre`, then shifted."""
    turn = Rotation.from_euler("xyz", rng.uniform(-DEGREES, DEGREES, 3), degrees=True).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turn * rng.uniform(*SCALES)
    matrix[:3, 3] = centre + rng.uniform(-MM, MM, 3) - matrix[:3, :3] @ centre
    return Affine(matrix)


@lru_cache(maxsize=4)
def read(folder: Path, name: str) -> tuple[Image, Image]:
    """Image and labels, of LPBA40 the 54 that are scored."""
    image = load_image(folder / "images" / f"{name}.nii.gz")
    labels = load_image(folder / "labels" / f"{name}.nii.gz", "labels")
    if name.startswith("S"):
        labels = replace(labels, data=np.where(np.isin(labels.data, LPBA_54), labels.data, 0))
    return image, labels


def run(task: Task) -> Outcome:
    fixed, fixed_labels = read(task.folder, task.fixed)
    moving, moving_labels = read(task.folder, task.moving)
    pose = Affine()
    if task.pose is not None:
        pose = random_pose(np.random.default_rng([task.seed, task.pose]), moving.grid.centre)
    moving = replace(
        moving, grid=Grid(moving.grid.shape, (pose @ Affine(moving.grid.affine)).matrix)
    )
    pair = prepare(Inputs(fixed, moving).canonical())
    start = time.process_time()
    found = align(pair.fixed, pair.moving, task.kind)
    seconds = time.process_time() - start

    present = present_labels(moving_labels.data, fixed_labels.data)

    def overlap(transform: Affine) -> float:
        moved = resample(moving_labels.data, moving.grid, fixed.grid, transform, "nearest")
        return dice(moved, fixed_labels.data, present).mean

    reference = Affine(np.array(task.reference)) if task.reference else found
    inside = fixed.grid.world(np.argwhere(foreground(fixed.data))[::7])
    distance = np.linalg.norm(found(inside) - pose(reference(inside)), axis=-1).mean()
    matrix = tuple(tuple(float(v) for v in row) for row in found.matrix)
    name = f"{task.moving} -> {task.fixed}"
    return Outcome(
        name, task.pose, matrix, overlap(Affine()), overlap(found), float(distance), seconds
    )


def recovered(outcome: Outcome, reference: Outcome) -> bool:
    return outcome.distance_mm < NEAR_MM and outcome.dice >= reference.dice - NEAR_DICE


def line(reference: Outcome, outcomes: Sequence[Outcome]) -> str:
    """One row of the table, in Markdown."""
    distances = [o.distance_mm for o in outcomes]
    good = sum(recovered(o, reference) for o in outcomes)
    start = np.mean([o.dice_start for o in outcomes])
    return (
        f"| {reference.pair} | {good}/{len(outcomes)} "
        f"| {np.mean(distances):.2f} | {max(distances):.2f} "
        f"| {reference.dice_start:.3f} | {reference.dice:.3f} | {start:.3f} "
        f"| {np.mean([o.dice for o in outcomes]):.3f} | {min(o.dice for o in outcomes):.3f} "
        f"| {np.mean([o.seconds for o in outcomes]):.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with images/ and labels/")
    parser.add_argument("--pairs", nargs="+", required=True, metavar="MOVING:FIXED")
    parser.add_argument("--poses", type=int, default=30, help="poses of each pair; default 30")
    parser.add_argument("--seed", type=int, default=0, help="seed of the poses; default 0")
    parser.add_argument(
        "--kind", choices=("rigid", "affine"), default="affine", help="default affine"
    )
    parser.add_argument("--jobs", type=int, default=1, help="poses at a time; default 1")
    parser.add_argument("--json", type=Path, help="file for the outcomes")
    o = parser.parse_args()
    pairs = [tuple(pair.split(":")) for pair in o.pairs]
    results: list[Outcome] = []
    print(f"{TITLES}\n{'|---' * (TITLES.count('|') - 1)}|", flush=True)
    with multiprocessing.get_context("spawn").Pool(o.jobs, torch.set_num_threads, (1,)) as pool:
        references = pool.map(
            run, [Task(o.folder, m, f, o.kind, None, o.seed) for m, f in pairs], chunksize=1
        )
        for (m, f), reference in zip(pairs, references, strict=True):
            tasks = [
                Task(o.folder, m, f, o.kind, n, o.seed, reference.matrix) for n in range(o.poses)
            ]
            outcomes = pool.map(run, tasks, chunksize=1)
            print(line(reference, outcomes), flush=True)
            results += [reference, *outcomes]
    if o.json:
        o.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")


if __name__ == "__main__":
    main()
