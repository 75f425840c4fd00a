"""Compare the expected error of registrations with the true one, and fit the model behind it.

    python speed/uncertainty.py measure demo [--pairs 2] [--preset fast] [--cache FOLDER]
    python speed/uncertainty.py measure malf FOLDER [--pairs 2]     also lpba40
    python speed/uncertainty.py fit --label-maps FOLDER --openkbp FOLDER [--cache FOLDER]

Truths (all at points; every draw is seeded by the pair's name):
  warp       the image against a copy of itself, bent by a known warp; both get a bias field,
             another contrast and noise of their own. Error everywhere: length of the vector.
             The demo's head is such a pair by construction.
  surface    two subjects. Distance of points of the fixed labels' surfaces to the moved labels'
             surfaces: it sees the error across a surface alone, down to about a third of a voxel.
  landmark   the demo's landmarks (a vector); of two subjects, the centres of their labels.

`measure` prints for each pair and truth: mean expected and mean true error, Spearman's rank
correlation over the points, and expected / true in ten bins of equally many points.
`fit` registers its own pairs, none of which `measure` uses, and prints the constants of
`sacbnet.registration.uncertainty`. --cache keeps the points of each pair.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import (
    binary_erosion,
    center_of_mass,
    distance_transform_edt,
    find_objects,
    gaussian_filter,
    map_coordinates,
)
from scipy.stats import spearmanr
from sets import SETS

from sacbnet.data.phantom import make_pair
from sacbnet.data.synthesis.deform import spline_field
from sacbnet.imaging.image import Image
from sacbnet.imaging.intensities import foreground
from sacbnet.imaging.resampling import carry
from sacbnet.io.images import load_image
from sacbnet.registration.inputs import read_inputs
from sacbnet.registration.registrar import Registrar
from sacbnet.registration.uncertainty import CONSTANT, WEIGHTS, on_lattice, signs
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import DisplacementField, PointMap

POINTS = 20000
BRAIN = (*range(1, 24), 26, 28, *range(40, 55), 58, 60, 85)  # labels of FreeSurfer
# weights of the groups of pairs in the fit. The demo's images are the only ones that were acquired
# independently. The pairs that are not registered keep the model from trusting small displacements
SHARES = {"demo": 2.0, "maps": 1.0, "openkbp": 0.1, "none": 0.5}
KNOTS = ((10, 0.25), (20, 0.5), (40, 0.9), (80, 1.2))  # mm between knots, relative SD
PRESETS = {
    "fast": {"preset": "fast"},
    "balanced": {"preset": "balanced"},
    # nothing is registered: the error is the whole warp
    "none": {"weights": "none", "affine": "none", "refine": 0},
}
Truth = Callable[[PointMap], tuple[np.ndarray, np.ndarray]]  # points mm, errors mm


@dataclass
class Case:
    """A pair whose truth is known: `truths` maps the name of a truth to its measurement."""

    fixed: Image
    moving: Image
    truths: dict[str, Truth]


def generator(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


# --- truths -------------------------------------------------------------------------------------


def vector(truth: PointMap, points: np.ndarray) -> Truth:
    return lambda found: (points, np.linalg.norm(found(points) - truth(points), axis=1))


def points_of(grid: Grid, shown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    places = np.argwhere(shown)
    return grid.world(rng.permutation(places)[:POINTS].astype(float))


def surfaces(fixed: Image, moving: Image, rng: np.random.Generator) -> Truth:
    """Signed distances of voxels' centres, so that equal maps have a distance of 0."""
    spacing, f = fixed.grid.spacing, fixed.data.astype(int)
    half = float(spacing.mean()) / 2

    def measured(found: PointMap) -> tuple[np.ndarray, np.ndarray]:
        moved = carry(moving, fixed, found, "nearest").data.astype(int)
        both, points, errors = np.intersect1d(f, moved), [], []
        for label in both[both > 0]:
            where = find_objects((np.maximum(f == label, moved == label)).astype(np.int8))[0]
            low = [max(s.start - 2, 0) for s in where]
            box = tuple(slice(a, s.stop + 2) for a, s in zip(low, where, strict=True))
            here, there = f[box] == label, moved[box] == label
            outside = distance_transform_edt(~there, sampling=spacing) - half
            inside = half - distance_transform_edt(there, sampling=spacing)
            edge = rng.permutation(np.argwhere(here & ~binary_erosion(here)))
            edge = edge[: max(POINTS // len(both), 50)]
            errors.append(np.abs(np.where(there, inside, outside)[tuple(edge.T)] + half))
            points.append(fixed.grid.world(edge + np.array(low, float)))
        return np.concatenate(points), np.concatenate(errors)

    return measured


def centres(fixed: Image, moving: Image) -> Truth:
    labels = np.intersect1d(fixed.data, moving.data)
    labels = labels[labels > 0]

    def of(image: Image) -> np.ndarray:
        return image.grid.world(np.array(center_of_mass(image.data > 0, image.data, labels)))

    at, to = of(fixed), of(moving)
    return lambda found: (at, np.linalg.norm(found(at) - to, axis=1))


# --- pairs --------------------------------------------------------------------------------------


def scanned(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another contrast, a bias field and noise; what is 0 stays 0."""
    low, high = float(data.min()), float(np.percentile(data[data > data.min()], 99.5))
    x = np.clip((data - low) / (high - low), 0, 1.3) ** np.exp(0.25 * rng.standard_normal())
    x = x * np.exp(0.2 * spline_field(x.shape, max(x.shape) / 3, 1, rng)[0, 0].numpy())
    noise = rng.uniform(0.01, 0.06) * rng.standard_normal(x.shape)
    return (1000 * np.maximum(x + noise * (x > 0), 0)).astype(np.float32)


def known_warp(grid: Grid, rng: np.random.Generator, strength: float) -> DisplacementField:
    u = sum(
        strength
        * share
        * rng.uniform(0.6, 1.2)
        * spline_field(grid.shape, knots / float(grid.spacing.mean()), 3, rng)[0].numpy()
        for knots, share in KNOTS
    )
    return DisplacementField(grid, np.ascontiguousarray(np.moveaxis(u, 0, -1), dtype=np.float32))


def bent(image: Image, name: str, strength: float | None = None) -> Case:
    rng = generator(name)
    truth = known_warp(image.grid, rng, strength or rng.uniform(1, 4))
    clean = carry(image, image, truth, "linear", float(image.data.min()))
    fixed = Image(scanned(clean.data, rng), image.grid)
    shown = foreground(fixed.data, 0.05)
    there = vector(truth, points_of(image.grid, shown, rng))
    return Case(fixed, Image(scanned(image.data, rng), image.grid), {"warp": there})


def demo(seed: int) -> Case:
    pair = make_pair(seed)
    points = points_of(pair.fixed.grid, pair.fixed_labels.data > 0, generator(f"demo {seed}"))
    truths = {
        "warp": vector(pair.true_map, points),
        "landmark": vector(pair.true_map, pair.landmarks),
    }
    return Case(pair.fixed, pair.moving, truths)


def subjects(folder: Path, moving: str, fixed: str) -> Case:
    f, m = (load_image(folder / "images" / f"{n}.nii.gz") for n in (fixed, moving))
    fl, ml = (load_image(folder / "labels" / f"{n}.nii.gz", "labels") for n in (fixed, moving))
    rng = generator(f"{moving} {fixed}")
    return Case(f, m, {"surface": surfaces(fl, ml, rng), "landmark": centres(fl, ml)})


def head_of_labels(file: Path) -> Image:
    """An image of 2 mm from a label map of 1 mm: random intensities, texture, partial volume."""
    labels, rng = load_image(file, "labels"), generator(file.name)
    shown = np.where(np.isin(labels.data, BRAIN), labels.data, 0).astype(int)
    box = find_objects((shown > 0).astype(np.int8))[0]
    box = tuple(slice(s.start, s.stop - (s.stop - s.start) % 2) for s in box)
    data = shown[box]
    table = rng.uniform(0.1, 0.9, data.max() + 1).astype(np.float32)
    grain = gaussian_filter(rng.standard_normal(data.shape).astype(np.float32), 1)
    fine = np.where(data > 0, table[data] + rng.uniform(0.08, 0.24) * grain, 0).clip(0)
    n = [s // 2 for s in data.shape]
    coarse = fine.reshape(n[0], 2, n[1], 2, n[2], 2).mean((1, 3, 5)).astype(np.float32)
    grid = labels.grid.cropped([s.start for s in box], [s.stop for s in box])
    affine = grid.affine @ np.diag([2, 2, 2, 1.0])
    affine[:3, 3] = grid.world([0.5, 0.5, 0.5])
    return Image(coarse, Grid(coarse.shape, affine))


def neck(folder: Path, name: str) -> Image:
    """The part of a CT around its labels."""
    image = load_image(folder / "images" / f"{name}.nii.gz")
    labels = load_image(folder / "labels" / f"{name}.nii.gz", "labels")
    box = find_objects((labels.data > 0).astype(np.int8))[0]
    low = [max(s.start - 1, 0) for s in box]
    high = [min(s.stop + 1, n) for s, n in zip(box, image.data.shape, strict=True)]
    data = image.data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return Image(np.ascontiguousarray(data), image.grid.cropped(low, high))


def cases(name: str, folder: Path | None, pairs: int) -> dict[str, Callable[[], Case]]:
    if name == "demo":
        return {f"demo {seed}": lambda seed=seed: demo(seed) for seed in range(pairs)}
    assert folder is not None, f"{name} needs its folder"
    made: dict[str, Callable[[], Case]] = {}
    for n, (moving, fixed) in enumerate(SETS[name].pairs[:pairs]):
        key, strength = f"{moving} bent", (2.0, 4.0)[n % 2]
        file = folder / "images" / f"{moving}.nii.gz"
        made[key] = lambda file=file, key=key, s=strength: bent(load_image(file), key, s)
        made[f"{moving} -> {fixed}"] = lambda m=moving, f=fixed: subjects(folder, m, f)
    return made


def for_fit(maps: Path, openkbp: Path) -> list[tuple[str, str, str, Callable[[], Case]]]:
    """(group, preset, name, pair)."""
    chosen: list[tuple[str, str, str, Callable[[], Case]]] = [
        ("demo", "fast", f"demo {n}", lambda n=n: demo(n)) for n in (101, 102)
    ]
    for n, group in ((1, "maps"), (2, "maps"), (3, "none")):
        file = maps / f"training_seg_{n:02}.nii.gz"
        preset = "none" if group == "none" else "fast"
        chosen.append(
            (group, preset, file.name[:15], lambda f=file: bent(head_of_labels(f), f.name))
        )
    for name, group in (("pt_001", "openkbp"), ("pt_002", "none")):
        preset = "none" if group == "none" else "fast"
        chosen.append((group, preset, name, lambda name=name: bent(neck(openkbp, name), name)))
    return chosen


# --- expected and true ---------------------------------------------------------------------------

Found = dict[str, tuple[np.ndarray, np.ndarray, float]]  # logarithms of signs, errors mm, voxel mm


def look(name: str, preset: str, make: Callable[[], Case], cache: Path | None) -> Found:
    """Register a pair; the signs and the true errors at its points, by truth."""
    kept = cache / f"{name.replace(' ', '_').replace('>', '')}-{preset}.npz" if cache else None
    if kept and kept.exists():
        with np.load(kept) as f:
            names = {k.split("/")[0] for k in f.files}
            return {k: (f[f"{k}/x"], f[f"{k}/mm"], float(f[f"{k}/h"])) for k in sorted(names)}
    case = make()
    pair = {
        "fixed": (case.fixed.data, case.fixed.grid.affine),
        "moving": (case.moving.data, case.moving.grid.affine),
    }
    estimate = Registrar(**PRESETS[preset]).estimate(read_inputs(**pair))
    grid, *evidence = on_lattice(estimate.pair, estimate.affine, estimate.transform)
    logs = [x.expand(1, 1, *grid.shape)[0, 0].log().numpy() for x in signs(*evidence)]
    found: Found = {}
    for truth, measured in case.truths.items():
        points, errors = measured(estimate.transform)
        inside = grid.contains(points)
        at = grid.voxels(points[inside]).T
        x = np.stack([map_coordinates(s, at, order=1, mode="nearest") for s in logs], 1)
        found[truth] = x, errors[inside], float(grid.spacing.mean())
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        flat = {
            f"{k}/{n}": v
            for k, t in found.items()
            for n, v in zip(("x", "mm", "h"), t, strict=True)
        }
        np.savez_compressed(kept, **flat)
    return found


def bins(expected: np.ndarray, true: np.ndarray) -> np.ndarray:
    parts = np.array_split(np.argsort(expected, kind="stable"), 10)
    return np.array([expected[p].mean() / max(true[p].mean(), 1e-9) for p in parts])


def show(name: str, expected: np.ndarray, true: np.ndarray) -> None:
    ratios = bins(expected, true)
    rank = float(spearmanr(expected, true)[0])
    good = int((np.abs(ratios - 1) <= 0.25).sum())
    print(
        f"{name:38} {len(true):6}  expected {expected.mean():5.2f}  true {true.mean():5.2f} mm"
        f"  rank {rank:5.2f}  bins within 25%: {good:2}  " + " ".join(f"{r:.2f}" for r in ratios),
        flush=True,
    )


def measure(o: argparse.Namespace) -> None:
    pooled: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for name, make in cases(o.set, o.folder, o.pairs).items():
        for truth, (x, true, h) in look(name, o.preset, make, o.cache).items():
            expected = h * np.exp(CONSTANT + x @ np.array(WEIGHTS))
            show(f"{name}, {truth}, {o.preset}", expected, true)
            pooled.setdefault(truth, []).append((expected, true))
    for truth, parts in pooled.items():
        expected, true = (np.concatenate(a) for a in zip(*parts, strict=True))
        show(f"all {o.set}, {truth}, {o.preset}", expected, true)


# --- fit -----------------------------------------------------------------------------------------


def regression(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """E y = exp(x b) by iteratively reweighted least squares; relative errors count (gamma)."""
    b = np.zeros(x.shape[1])
    b[0] = np.log(np.average(y, weights=weight))
    calm = 1e-3 * weight.sum() * np.diag([0.0] + [1.0] * (len(b) - 1))
    for _ in range(100):
        mean = np.exp(np.clip(x @ b, -8, 6))
        target = x @ b + (y - mean) / mean
        step = np.linalg.solve((x.T * weight) @ x + calm, (x.T * weight) @ target) - b
        b = b + step
        if np.abs(step).max() < 1e-6:
            break
    return b


def fit(o: argparse.Namespace) -> None:
    found: list[tuple[str, str, np.ndarray, np.ndarray, float]] = []
    for group, preset, name, make in for_fit(o.label_maps, o.openkbp):
        x, true, h = look(name, preset, make, o.cache)["warp"]
        found.append((group, f"{name}, {preset}", x, true, h))
        print(f"{name}, {preset}: {true.mean():.2f} mm", flush=True)
    many: dict[str, int] = {}
    for group, *_ in found:
        many[group] = many.get(group, 0) + 1
    # within a group each pair counts alike
    weight = [np.full(len(t), 1e3 * SHARES[g] / len(t) / many[g]) for g, _, _, t, _ in found]
    x = np.concatenate([np.insert(x, 0, 1, axis=1) for _, _, x, _, _ in found])
    y = np.concatenate([t / h for *_, t, h in found])
    b = regression(x, y, np.concatenate(weight))
    for _, name, x, true, h in found:
        show(name, h * np.exp(b[0] + x @ b[1:]), true)
    print(f"CONSTANT, WEIGHTS = {b[0]:.3f}, ({', '.join(f'{w:.3f}' for w in b[1:])})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs: Any = parser.add_subparsers(required=True)
    one = verbs.add_parser("measure")
    one.add_argument("set", choices=("demo", *SETS))
    one.add_argument("folder", type=Path, nargs="?")
    one.add_argument("--pairs", type=int, default=2)
    one.add_argument("--preset", choices=PRESETS, default="fast")
    two = verbs.add_parser("fit")
    two.add_argument("--label-maps", type=Path, required=True)
    two.add_argument("--openkbp", type=Path, required=True)
    for verb, call in ((one, measure), (two, fit)):
        verb.add_argument("--cache", type=Path)
        verb.set_defaults(call=call)
    o = parser.parse_args()
    torch.set_num_threads(1)
    o.call(o)


if __name__ == "__main__":
    main()
