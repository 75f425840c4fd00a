"""Register real pairs by the command, and tabulate what the run.json of each run says.

    python speed/real_pairs.py malf FOLDER [--pairs 5] [--contrast t2] [--json FILE] [options of
                               register]
    python speed/real_pairs.py lpba40 FOLDER --affine none --preset fast

FOLDER holds images/ and labels/ (MALF: 1000.nii.gz ...; LPBA40: S11.nii.gz ...). The pairs are the
first of a fixed list. --contrast changes the moving image before it is registered: "inverted" makes
bright dark; "t2" is a curve on which fluid is brightest, grey matter between, and white matter
darkest, as in a T2-weighted scan. The 0 around the stripped brains stays 0. --json FILE keeps the
rows; pairs that it has are not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from sets import SETS


def run_pair(
    folder: Path, moving: str, fixed: str, image: Path | None, out: Path, more: list[str]
) -> dict[str, Any]:
    """One `sacbnet register`, of `image` if given instead of the moving one; returns run.json."""
    command = [
        sys.executable,
        "-m",
        "sacbnet.cli.main",
        "register",
        "--quiet",
        "--out",
        str(out),
        *more,
    ]
    for side, name, instead in (("fixed", fixed, None), ("moving", moving, image)):
        command += [f"--{side}", str(instead or folder / "images" / f"{name}.nii.gz")]
        command += [f"--{side}-labels", str(folder / "labels" / f"{name}.nii.gz")]
    subprocess.run(command, check=True)
    return json.loads((out / "run.json").read_text())


CONTRASTS = {
    "inverted": ((0, 1), (1, 0.1)),
    "t2": ((0, 1), (0.35, 0.9), (0.6, 0.6), (0.8, 0.35), (1, 0.25)),
}


def changed(folder: Path, name: str, contrast: str, scratch: Path) -> Path:
    """The image with the other contrast, a curve up to the 99.9th percentile of intensities."""
    image = nib.load(folder / "images" / f"{name}.nii.gz")
    data = np.asarray(image.dataobj, dtype=np.float32)
    shown = data > 0
    at, value = zip(*CONTRASTS[contrast], strict=True)
    data[shown] = np.interp(data[shown] / np.percentile(data[shown], 99.9), at, value)
    path = scratch / f"{name}-{contrast}.nii.gz"
    nib.save(nib.Nifti1Image(data, image.affine), path)
    return path


def row(report: dict[str, Any], labels: tuple[int, ...]) -> dict[str, float]:
    def mean(step: str, way: str) -> float:
        per_label = report["dice"][step][f"{way}_per_label"]
        chosen = (
            [per_label[str(n)] for n in labels if str(n) in per_label]
            if labels
            else list(per_label.values())
        )
        return float(np.mean(chosen))

    return {
        "start": mean("start", "nearest"),
        "affine": mean("affine", "nearest"),
        "affine_onehot": mean("affine", "onehot"),
        "final": mean("final", "nearest"),
        "final_onehot": mean("final", "onehot"),
        "folded_voxels": report["folding"]["folded_voxels"],
        "ndv_percent": report["folding"]["non_diffeomorphic_percent"],
        "sd_log_j": report["folding"]["sd_log_jacobian"],
        "inverse_mm": report["inverse"]["round_trip_mean_mm"],
        "seconds": report["seconds"]["total"],
        "affine_s": report["seconds"].get("affine", 0.0),
        "refine_s": report["seconds"].get("refine", 0.0),
        "peak_mb": report["peak_memory_mb"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=SETS, help="which list of pairs")
    parser.add_argument("folder", type=Path, help="folder with images/ and labels/")
    parser.add_argument("--pairs", type=int, default=5, help="number of pairs; default 5")
    parser.add_argument(
        "--contrast", choices=CONTRASTS, help="change the moving image; default: no change"
    )
    parser.add_argument("--out", type=Path, help="keep the results here")
    parser.add_argument("--json", type=Path, help="file that keeps the rows")
    arguments, more = parser.parse_known_args()
    kept = arguments.json
    rows = json.loads(kept.read_text()) if kept and kept.exists() else []
    for done in rows:
        show(done)
    with tempfile.TemporaryDirectory() as scratch:
        for moving, fixed in SETS[arguments.set].pairs[: arguments.pairs]:
            pair = f"{moving} -> {fixed}"
            if any(done["pair"] == pair for done in rows):
                continue
            out = (arguments.out or Path(scratch)) / f"{moving}-{fixed}"
            other = (
                changed(arguments.folder, moving, arguments.contrast, Path(scratch))
                if arguments.contrast
                else None
            )
            report = run_pair(arguments.folder, moving, fixed, other, out, more)
            rows.append({"pair": pair, **row(report, SETS[arguments.set].labels)})
            show(rows[-1])
            if kept:
                kept.write_text(json.dumps(rows, indent=2) + "\n")
    print("  ".join(f"{name:>13}" for name in rows[0]))
    means = [float(np.mean([r[name] for r in rows])) for name in list(rows[0])[1:]]
    print("  ".join([f"{'mean':>13}", *(f"{v:13.4g}" for v in means)]))


def show(found: dict[str, Any]) -> None:
    print(
        "  ".join(f"{v:>13}" if isinstance(v, str) else f"{v:13.4g}" for v in found.values()),
        flush=True,
    )


if __name__ == "__main__":
    main()
