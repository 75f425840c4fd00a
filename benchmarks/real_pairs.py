"""Register real pairs by the command and tabulate what each run's run.json says.

    python benchmarks/real_pairs.py malf FOLDER [--pairs 5] [--refine N] [--out DIR] [--json FILE]
    python benchmarks/real_pairs.py lpba40 FOLDER

FOLDER holds images/ and labels/ (MALF: 1000.nii.gz ...; LPBA40: S11.nii.gz ...). Pairs are the first of a fixed list.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sets import SETS


def run_pair(folder: Path, moving: str, fixed: str, out: Path, more: list[str]) -> dict[str, Any]:
    """One `sacbnet register`; returns its run.json."""
    command = [sys.executable, "-m", "sacbnet.cli.main", "register", "--quiet", "--out", str(out), *more]
    for side, name in (("fixed", fixed), ("moving", moving)):
        command += [f"--{side}", str(folder / "images" / f"{name}.nii.gz")]
        command += [f"--{side}-labels", str(folder / "labels" / f"{name}.nii.gz")]
    subprocess.run(command, check=True)
    return json.loads((out / "run.json").read_text())


def row(report: dict[str, Any], labels: tuple[int, ...]) -> dict[str, float]:
    def mean(step: str, way: str) -> float:
        per_label = report["dice"][step][f"{way}_per_label"]
        chosen = [per_label[str(n)] for n in labels if str(n) in per_label] if labels else list(per_label.values())
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
    parser.add_argument("set", choices=SETS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--refine", type=int)
    parser.add_argument("--out", type=Path, help="keep the results here")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    more = [] if arguments.refine is None else ["--refine", str(arguments.refine)]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for moving, fixed in SETS[arguments.set].pairs[: arguments.pairs]:
            out = (arguments.out or Path(scratch)) / f"{moving}-{fixed}"
            report = run_pair(arguments.folder, moving, fixed, out, more)
            rows.append({"pair": f"{moving} -> {fixed}", **row(report, SETS[arguments.set].labels)})
            if len(rows) == 1:
                print("  ".join(f"{name:>13}" for name in rows[0]))
            print("  ".join(f"{v:>13}" if isinstance(v, str) else f"{v:13.4g}" for v in rows[-1].values()), flush=True)
    means = [float(np.mean([r[name] for r in rows])) for name in list(rows[0])[1:]]
    print("  ".join([f"{'mean':>13}", *(f"{v:13.4g}" for v in means)]))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
