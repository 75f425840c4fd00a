"""Does the verdict tell right registrations from wrong ones?

    python speed/verdict.py FOLDER OUT.jsonl [--rounds 60] [--minutes M]

FOLDER holds malf/, lpba40/, hippocampus/ and openkbp/, each with images/. Every round draws, with
seed 0, five right pairs of two subjects (two of the hippocampus set) and ten wrong ones:

- body: two body parts (a head and a neck with a brain, a whole brain with a hippocampus, ...)
- mirrored: the moving image is mirrored left to right, its header is not
- turned: by 90, 180 or 270 degrees about one axis, and no affine search
- noise: the moving image is white noise
- third: the moving image is cropped to a third along one axis; such pairs often come out right
- mask: the fixed mask is the body of a third subject, shifted by 12% along each axis

Every pair is registered with the preset fast; CT without a network. OUT.jsonl keeps each pair as
soon as it is done; the same command goes on where it was stopped. The table counts the verdicts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sacbnet.errors import SacbnetError
from sacbnet.imaging.image import Image
from sacbnet.imaging.intensities import foreground
from sacbnet.io.images import load_image
from sacbnet.registration.account import Account
from sacbnet.registration.estimate import estimate
from sacbnet.registration.evidence import evidence_of, mask_doubts
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.measure import calm_likeness_of, likeness_of
from sacbnet.registration.registrar import Registrar
from sacbnet.registration.sizes import units_of
from sacbnet.registration.verdict import Evidence, judge, worse
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine

SETS = ("malf", "lpba40", "hippocampus", "openkbp")
BODIES = (("malf", "openkbp"), ("openkbp", "lpba40"), ("lpba40", "hippocampus"))
RIGHT = ("malf", "lpba40", "hippocampus", "hippocampus", "openkbp")


def jobs(folder: Path, rounds: int) -> Iterator[tuple[str, str, list[str]]]:
    """Kind, set and files of each pair."""
    rng = np.random.default_rng(0)
    files = {s: sorted(str(p) for p in (folder / s / "images").glob("*.nii.gz")) for s in SETS}

    def pick(name: str, count: int = 1) -> list[str]:
        return [files[name][i] for i in rng.choice(len(files[name]), count, replace=False)]

    for n in range(rounds):
        for name in RIGHT:
            yield "right", name, pick(name, 2)
        for a, b in BODIES:
            yield "body", a, pick(a) + pick(b)
        for name in SETS[:3]:
            yield "mirrored", name, pick(name, 2)
        name = SETS[n % len(SETS)]
        for kind in ("noise", "turned", "third", "mask"):
            yield kind, name, pick(name, 3)


def spoilt(kind: str, files: list[str], seed: int) -> Inputs:
    """The pair, made wrong."""
    rng = np.random.default_rng(seed)
    fixed, moving = load_image(files[0]), load_image(files[1])
    data, grid = moving.data, moving.grid
    axis = int(rng.integers(3))
    if kind == "mirrored":
        return Inputs(fixed, replace(moving, data=np.ascontiguousarray(data[::-1])))
    if kind == "noise":
        return Inputs(
            fixed, replace(moving, data=rng.normal(100, 20, data.shape).astype(np.float32))
        )
    if kind == "turned":
        axes = tuple(a for a in range(3) if a != axis)
        turned = np.ascontiguousarray(np.rot90(data, int(rng.integers(1, 4)), axes))
        return Inputs(fixed, Image(turned, Grid(turned.shape, grid.affine)))
    if kind == "third":
        low, high = np.zeros(3, int), np.array(data.shape)
        low[axis] = rng.integers(0, data.shape[axis] - data.shape[axis] // 3)
        high[axis] = low[axis] + data.shape[axis] // 3
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        return Inputs(fixed, Image(np.ascontiguousarray(data[box]), grid.cropped(low, high)))
    if kind == "mask":
        other = load_image(files[2])
        shift = np.eye(4)
        size = np.array(fixed.grid.shape) * fixed.grid.spacing
        shift[:3, 3] = rng.choice([-1, 1], 3) * 0.12 * size
        body = foreground(other.unit(), 0.05).astype(np.uint8)
        mask = resample(body, other.grid, fixed.grid, Affine(shift), "nearest")
        return Inputs(fixed, moving, fixed_mask=Image(mask, fixed.grid))
    return Inputs(fixed, moving)


@cache
def registrar(kind: str, name: str) -> Registrar:
    weights = "none" if name == "openkbp" else "default"
    return Registrar(preset="fast", weights=weights, affine="none" if kind == "turned" else "auto")


def judged(kind: str, name: str, files: list[str], seed: int) -> dict[str, Any]:
    """Register a pair, and judge the result as `register` does."""
    engine = registrar(kind, name)
    inputs, account = spoilt(kind, files, seed), Account()
    start = time.process_time()
    units, warning = units_of(inputs, engine.affine)
    account.doubt(*filter(None, [warning]))
    worked = units.inputs(inputs)
    found = estimate(engine.engine, worked, account, units)
    taken = time.process_time()
    pair, affine, transform = found.pair, found.affine, found.transform
    account.doubt(*mask_doubts(worked))
    evidence = evidence_of(pair, affine, transform)
    measured = time.process_time()
    against = worse(
        likeness_of(pair, affine, transform), lambda: calm_likeness_of(pair, affine, transform)
    )
    return {
        "evidence": asdict(evidence),
        "worse": against,
        "doubts": account.doubts,
        "seconds": round(taken - start, 2),
        "evidence_seconds": round(measured - taken, 2),
    }


def verdict_of(row: dict[str, Any]) -> str:
    """The verdict on a pair, from what was kept: other limits need no new registrations."""
    if "error" in row:  # refused before there was a result
        return "failed"
    return judge(Evidence(**row["evidence"]), row["worse"], row["doubts"]).word


def table(rows: list[dict[str, Any]]) -> str:
    """Verdicts by kind and set, in Markdown."""
    lines = ["| kind | set | pairs | good | check | failed |", "|---|---|---|---|---|---|"]
    words = ("good", "check", "failed")
    for kind, name in dict.fromkeys((r["kind"], r["set"]) for r in rows):
        found = Counter(verdict_of(r) for r in rows if (r["kind"], r["set"]) == (kind, name))
        counts = " | ".join(str(found[w]) for w in words)
        lines.append(f"| {kind} | {name} | {sum(found.values())} | {counts} |")
    right = [verdict_of(r) for r in rows if r["kind"] == "right"]
    wrong = [verdict_of(r) for r in rows if r["kind"] != "right"]
    lines.append(
        f"\nright: {len(right)}, of which {right.count('failed')} failed and"
        f" {right.count('check')} to check; wrong: {len(wrong)}, of which"
        f" {len(wrong) - wrong.count('good')} are not good; evidence takes"
        f" {np.mean([r['evidence_seconds'] for r in rows]):.2f} s"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with the four sets")
    parser.add_argument("out", type=Path, help="file of the outcomes, a JSON object a line")
    parser.add_argument("--rounds", type=int, default=60, help="15 pairs each; default 60")
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after so many minutes")
    o = parser.parse_args()
    end = time.time() + 60 * o.minutes
    rows = [json.loads(x) for x in o.out.read_text().splitlines()] if o.out.exists() else []
    done = {r["number"] for r in rows}
    for number, (kind, name, files) in enumerate(jobs(o.folder, o.rounds)):
        if number in done or time.time() > end:
            continue
        row = {"number": number, "kind": kind, "set": name, "files": [Path(f).name for f in files]}
        try:
            row |= judged(kind, name, files, number)
        except SacbnetError as error:
            row |= {"error": str(error), "evidence_seconds": 0.0}
        rows.append(row)
        with o.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(number, kind, name, verdict_of(row), row.get("seconds"), flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
