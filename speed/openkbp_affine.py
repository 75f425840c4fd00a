"""Are heads and necks on CT aligned, although their fields of view differ?

    python speed/openkbp_affine.py FOLDER OUT.json [--pairs 60] [--seed 0] [--first 60]
        [--with ours|syn|greedy] [--tools-python PYTHON]

FOLDER holds images/ and labels/ (NAME.nii.gz): the CTs of OpenKBP, labels 1 brainstem, 2 spinal
cord, 3 and 4 parotids, 5 mandible. The ordered pairs are drawn without replacement, from all
ordered pairs of all cases. The affine stage alone runs, as `register` runs it with the options
--weights none --preset fast: nothing of the labels is shown to it. A structure is found if the
affine brings the centre of the fixed label to less than 15 mm from the centre of the moving label.
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


def distances(folder: Path, fixed: str, moving: str, matrix: Any) -> dict[str, float]:
    """Distance in mm between the centres of each structure that both have."""
    import nibabel as nib
    import numpy as np

    def centres(name: str) -> dict[int, Any]:
        image = nib.load(folder / "labels" / f"{name}.nii.gz")
        labels = np.asanyarray(image.dataobj)
        voxels = {n: np.argwhere(labels == n) for n in STRUCTURES.values()}
        return {
            n: nib.affines.apply_affine(image.affine, v.mean(axis=0))
            for n, v in voxels.items()
            if len(v)
        }

    f, m = centres(fixed), centres(moving)
    return {
        name: round(
            float(np.linalg.norm(nib.affines.apply_affine(np.array(matrix), f[n]) - m[n])), 2
        )
        for name, n in STRUCTURES.items()
        if n in f and n in m
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The share of the pairs in which each structure is found, in Markdown."""
    import numpy as np

    lines = [
        "| structure | pairs | headers | affine | mean mm | max mm |",
        "|---|---|---|---|---|---|",
    ]
    for name in STRUCTURES:
        start = [r["start_mm"][name] for r in rows if name in r["mm"]]
        found = [r["mm"][name] for r in rows if name in r["mm"]]
        if found:
            before, after = (sum(d < NEAR_MM for d in x) for x in (start, found))
            lines.append(
                f"| {name} | {len(found)} | {before} | {after} ({100 * after / len(found):.0f}%)"
                f" | {np.mean(found):.1f} | {max(found):.1f} |"
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
            **row,
        }
        rows.append(row)
        o.out.write_text(json.dumps(rows, indent=1) + "\n")
        print(fixed, moving, row["mm"], f"{row['seconds']:.1f} s", *row["warnings"], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
