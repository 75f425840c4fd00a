"""Are heads and necks on CT aligned, although their fields of view differ?

    python speed/openkbp_affine.py FOLDER OUT.json [--pairs 60] [--seed 0] [--first 60]
        [--with ours|syn|greedy] [--tools-python PYTHON]

FOLDER holds images/ and labels/ (NAME.nii.gz): the CTs of OpenKBP, labels 1 brainstem, 2 spinal
cord, 3 and 4 parotids, 5 mandible. The ordered pairs are drawn without replacement, from all
ordered pairs of all cases. The affine stage alone runs, as `register` runs it with the options
--weights none --preset fast: nothing of the labels is shown to it. A structure is found if the
affine brings the centre of the fixed label to less than 15 mm from the centre of the moving label.
The labels of some cases lie elsewhere than those of all others, so the table also has what a rigid
fit to the centres of the labels themselves reaches: no alignment of the images is asked for more.
OUT.json keeps each pair as soon as it is done; the same command goes on where it was stopped.

With --with syn or greedy, that tool's affine stage runs (as in `benchmark/tools/worker.py`) by
PYTHON, which needs the tool and nothing of sacbnet. Seconds are processor seconds in one thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

STRUCTURES = {"brainstem": 1, "right parotid": 3, "left parotid": 4, "mandible": 5}
NEAR_MM = 15.0
GREEDY = "-d 3 -m NCC 4x4x4 -i {0} {1} -n 100x50x20 -a -dof 12 -ia-image-centers -threads 1 -o {2}"


def drawn(folder: Path, count: int, seed: int) -> list[tuple[str, str]]:
    """Ordered pairs (fixed, moving) of cases."""
    import numpy as np

    names = sorted(p.name.removesuffix(".nii.gz") for p in (folder / "images").glob("*.nii.gz"))
    pairs = list(permutations(names, 2))
    chosen = np.random.default_rng(seed).choice(len(pairs), min(count, len(pairs)), replace=False)
    return [pairs[n] for n in chosen]


def ours(folder: Path, fixed: str, moving: str) -> dict[str, Any]:
    from sacbnet.io.images import load_image
    from sacbnet.registration.account import Account
    from sacbnet.registration.affine import align
    from sacbnet.registration.inputs import Inputs
    from sacbnet.registration.prepare import prepare

    images = (load_image(folder / "images" / f"{n}.nii.gz") for n in (fixed, moving))
    account = Account()
    start = time.process_time()
    pair = prepare(Inputs(*images).canonical())
    prepared = time.process_time()
    affine = align(pair.fixed, pair.moving, "affine", warn=account.warn)
    return {
        "matrix": affine.matrix.tolist(),
        "seconds": time.process_time() - prepared,
        "prepare_seconds": prepared - start,
        "warnings": account.warnings,
    }


def by_tool(tool: str, python: str, folder: Path, fixed: str, moving: str) -> dict[str, Any]:
    import numpy as np

    from sacbnet.io.transforms import load_affine

    with tempfile.TemporaryDirectory() as scratch:
        images = [str((folder / "images" / f"{n}.nii.gz").resolve()) for n in (fixed, moving)]
        command = [python, str(Path(__file__).resolve()), "--child", tool, *images]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{python} cannot run {tool}: {done.stderr[-300:]}")
        found = next(Path(scratch).glob("affine*"))
        matrix = np.loadtxt(found) if found.suffix == ".txt" else load_affine(found).matrix
        return {
            "matrix": matrix.tolist(),
            "seconds": float(Path(scratch, "seconds.txt").read_text()),
            "warnings": [],
        }


def child(tool: str, fixed: str, moving: str) -> None:
    """Run the affine stage of another tool; its affine and its seconds go to the working folder."""
    import os

    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    os.environ["ANTS_RANDOM_SEED"] = "1"
    if tool == "syn":
        import ants

        images = [ants.image_read(path) for path in (fixed, moving)]
        start = time.process_time()
        done = ants.registration(*images, "Affine", outprefix="syn")  # the first stage of "SyN"
        Path(done["fwdtransforms"][0]).rename("affine.mat")
    else:
        from picsl_greedy import Greedy3D

        start = time.process_time()
        Greedy3D().execute(GREEDY.format(fixed, moving, "affine_ras.txt"))
    Path("seconds.txt").write_text(str(time.process_time() - start))


@cache
def centres(folder: Path, name: str) -> dict[int, Any]:
    """Centre of each structure of a case, in mm."""
    import nibabel as nib
    import numpy as np

    image = nib.load(folder / "labels" / f"{name}.nii.gz")
    labels = np.asanyarray(image.dataobj)
    voxels = {n: np.argwhere(labels == n) for n in STRUCTURES.values()}
    return {
        n: nib.affines.apply_affine(image.affine, v.mean(axis=0))
        for n, v in voxels.items()
        if len(v)
    }


def rigid_fit(points: Any, images: Any) -> Any:
    """The rigid 4x4 matrix that brings points nearest to their images (least squares)."""
    import numpy as np
    from scipy.spatial.transform import Rotation

    middle, there = points.mean(axis=0), images.mean(axis=0)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.align_vectors(images - there, points - middle)[0].as_matrix()
    matrix[:3, 3] = there - matrix[:3, :3] @ middle
    return matrix


def distances(folder: Path, fixed: str, moving: str, matrix: Any) -> dict[str, float]:
    """Distance in mm between the centres of each structure that both have.

    Without a matrix, that of the rigid fit to the centres themselves counts.
    """
    import nibabel as nib
    import numpy as np

    f, m = (centres(folder, name) for name in (fixed, moving))
    shared = [n for n in STRUCTURES.values() if n in f and n in m]
    if matrix is None:
        if len(shared) < 3:
            return {}
        matrix = rigid_fit(np.array([f[n] for n in shared]), np.array([m[n] for n in shared]))
    at = nib.affines.apply_affine
    return {
        name: round(float(np.linalg.norm(at(np.array(matrix), f[n]) - m[n])), 2)
        for name, n in STRUCTURES.items()
        if n in shared
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The share of the pairs in which each structure is found, in Markdown."""
    import numpy as np

    lines = [
        "| structure | pairs | headers | affine | mean mm | max mm | rigid fit to the labels |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in STRUCTURES:
        start = [r["start_mm"][name] for r in rows if name in r["mm"]]
        found = [r["mm"][name] for r in rows if name in r["mm"]]
        if found:
            fit = [r["fit_mm"][name] for r in rows if name in r["mm"] and r["fit_mm"]]
            before, after, best = (sum(d < NEAR_MM for d in x) for x in (start, found, fit))
            lines.append(
                f"| {name} | {len(found)} | {before} | {after} ({100 * after / len(found):.0f}%)"
                f" | {np.mean(found):.1f} | {max(found):.1f} | {best} of {len(fit)} |"
            )
    wrong = [r for r in rows if r["mm"] and max(r["mm"].values()) >= NEAR_MM]
    told = sum(bool(r["warnings"]) for r in wrong)
    alarms = sum(bool(r["warnings"]) for r in rows) - told
    lines.append(
        f"\nall structures found: {len(rows) - len(wrong)} of {len(rows)} pairs; of {len(wrong)}"
        f" others {told} were told by a warning; {alarms} good pairs had a warning;"
        f" {np.mean([r['seconds'] for r in rows]):.1f} s a pair"
    )
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:5])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with images/ and labels/")
    parser.add_argument("out", type=Path, help="JSON file of the outcomes")
    parser.add_argument("--pairs", type=int, default=60, help="pairs that are drawn; default 60")
    parser.add_argument("--seed", type=int, default=0, help="seed of the drawing; default 0")
    parser.add_argument("--first", type=int, help="only so many of the drawn pairs")
    parser.add_argument("--with", dest="tool", choices=("ours", "syn", "greedy"), default="ours")
    parser.add_argument("--tools-python", default=sys.executable, help="a Python with the tool")
    o = parser.parse_args()
    import numpy as np

    rows = json.loads(o.out.read_text()) if o.out.exists() else []
    done = {(r["fixed"], r["moving"]) for r in rows}
    for fixed, moving in drawn(o.folder, o.pairs, o.seed)[: o.first]:
        if (fixed, moving) in done:
            continue
        if o.tool == "ours":
            row = ours(o.folder, fixed, moving)
        else:
            row = by_tool(o.tool, o.tools_python, o.folder, fixed, moving)
        row = {
            "fixed": fixed,
            "moving": moving,
            "start_mm": distances(o.folder, fixed, moving, np.eye(4)),
            "mm": distances(o.folder, fixed, moving, row["matrix"]),
            "fit_mm": distances(o.folder, fixed, moving, None),
            **row,
        }
        rows.append(row)
        o.out.write_text(json.dumps(rows, indent=1) + "\n")
        print(fixed, moving, row["mm"], f"{row['seconds']:.1f} s", *row["warnings"], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
