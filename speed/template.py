"""Is a template sharper than the affine mean, and do labels meet better through it?

    python speed/template.py FOLDER OUT [--cases S11 ... S20] [--spacing 2] [--rounds 4]
                             [--affine-rounds 2] [--pairs 45] [--weights none] [--preset fast]
                             [--sharpen 0]

FOLDER holds images/ and labels/ under the names of the cases. Both are first brought to --spacing.
Printed as JSON: the mean length of the gradient of the template over that of the affine mean, and
the mean Dice of pairs of cases, labels carried by nearest neighbour: as the headers have them, by a
direct affine alignment of the two, and through the template (out of one subject into the template
and on into the other). The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from sacbnet.cohort.crew import crew_of
from sacbnet.cohort.members import Member
from sacbnet.cohort.template import Template, TemplateOptions, build_template
from sacbnet.config.registration import Options
from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import antialias
from sacbnet.io.images import load_image, save_image
from sacbnet.io.transforms import load_displacement
from sacbnet.registration.inputs import read_inputs
from sacbnet.registration.registrar import Registrar
from sacbnet.registration.result import INVERSE, TRANSFORM
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine, PointMap, chain


def found(folder: Path, case: str) -> Path:
    (path,) = (p for p in folder.iterdir() if p.name.startswith(f"{case}."))
    return path


def coarse(folder: Path, out: Path, case: str, spacing: float) -> Member:
    """An image and its labels at a spacing, written once."""
    image, labels = out / "images" / f"{case}.nii.gz", out / "labels" / f"{case}.nii.gz"
    for path, kind in ((image, "images"), (labels, "labels")):
        if path.is_file():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        is_labels = kind == "labels"
        source = load_image(found(folder / kind, case), "labels" if is_labels else "image")
        grid = source.grid.with_spacing(spacing)
        data = source.data if is_labels else antialias(source.data, source.grid, spacing)
        made = resample(data, source.grid, grid, Affine(), "nearest" if is_labels else "linear")
        save_image(path, made, Image(made, grid), labels=is_labels)
    return Member(name=case, image=image, labels=labels)


def dice(fixed: Image, moving: Image, point_map: PointMap) -> float:
    """Mean over the labels of the fixed image."""
    moved = resample(moving.data, moving.grid, fixed.grid, point_map, "nearest")
    scores = []
    for label in np.unique(fixed.data)[1:]:
        a, b = fixed.data == label, moved == label
        scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return float(np.mean(scores))


def scored(
    members: Sequence[Member], made: Template, spacing: float, most: int
) -> dict[str, float]:
    registrar = Registrar(weights="none", refine=0, spacing=spacing, accept=True)
    pairs = list(combinations(members, 2))
    # evenly spread over all pairs
    pairs = [pairs[n] for n in np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(int)]
    scores = []
    for fixed, moving in pairs:
        labels = [load_image(x.labels, "labels") for x in (fixed, moving)]
        inputs = read_inputs(fixed=fixed.image, moving=moving.image)
        direct = registrar.estimate(inputs).affine
        subjects = made.path.parent / "subjects"
        back = load_displacement(subjects / fixed.name / INVERSE)
        there = load_displacement(subjects / moving.name / TRANSFORM)
        maps = (Affine(), direct, chain(there, back))
        scores.append([dice(*labels, point_map) for point_map in maps])
    start, affine, through = np.mean(scores, axis=0)
    return {
        "pairs": len(scores),
        "Dice by the headers": round(float(start), 4),
        "Dice by a direct affine": round(float(affine), 4),
        "Dice through the template": round(float(through), 4),
        "gain over the affine": round(float(through - affine), 4),
        "least gain": round(float(min(s[2] - s[1] for s in scores)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", nargs="+", default=[f"S{n}" for n in range(11, 21)])
    parser.add_argument("--spacing", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--affine-rounds", type=int, default=2)
    parser.add_argument("--sharpen", type=float, default=0.0)
    parser.add_argument("--pairs", type=int, default=45)
    parser.add_argument("--weights", default="none")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    members = [coarse(given.folder, given.out, c, given.spacing) for c in given.cases]
    began = time.time()

    def tell(what: str, fraction: float) -> None:
        print(f"{time.time() - began:8.1f} s  {what} ({fraction:.0%})", file=sys.stderr, flush=True)

    how = TemplateOptions(
        given.rounds, given.affine_rounds, spacing=given.spacing, sharpen=given.sharpen
    )
    options = Options(weights=given.weights, preset=given.preset, spacing=given.spacing)
    with crew_of(given.workers) as crew:
        made = build_template(
            members, options, given.out / "template", how=how, crew=crew, progress=tell
        )
    sharp = [x.sharpness for x in made.rounds]
    told = {
        "images": len(members),
        "rounds": [x.kind for x in made.rounds],
        "sharpness of each mean over that of the affine mean": [
            round(x / sharp[how.affine_rounds], 3) for x in sharp
        ],
        "shape change, mm": [round(x.shape_change_mm, 3) for x in made.rounds],
        "seconds of this call": round(time.time() - began, 1),
        "load average": os.getloadavg()[0],
    }
    print(json.dumps(told), flush=True)
    print(json.dumps(scored(members, made, given.spacing, given.pairs)))


if __name__ == "__main__":
    main()
