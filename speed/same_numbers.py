"""How far apart are results with one thread and with many, and of compiled and plain kernels?

    python speed/same_numbers.py [--fixed FILE --moving FILE] [--weights brain] [--threads 4]
                                 [--preset balanced] [--affine affine]

The pair is registered four times, each time in a new process: with compiled and with plain kernels,
with one thread and with --threads. Without files it is the pair of `sacbnet demo`, at half its
resolution. For each run the distance between its transform and that of the first run is told, over
the voxels of the fixed image that are not background, in mm. The exit code is 1 if the mean
distance of a run is larger than --most.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sacbnet.data.phantom import make_pair
from sacbnet.io.images import load_image, save_image
from sacbnet.io.transforms import load_displacement
from sacbnet.registration.result import TRANSFORM


def write_pair(folder: Path) -> tuple[Path, Path]:
    """Every second voxel of the demo's pair."""
    pair, paths = make_pair(), (folder / "fixed.nii.gz", folder / "moving.nii.gz")
    for image, path in zip((pair.fixed, pair.moving), paths, strict=True):
        affine = image.grid.affine @ np.diag([2.0, 2, 2, 1])
        thin = load_image((image.data[::2, ::2, ::2], affine))
        save_image(path, thin.data, thin)
    return paths


def registered(words: list[str], out: Path, threads: int, kernels: str) -> float:
    """Register in a new process; the seconds it took."""
    variables = {"OMP_NUM_THREADS": str(threads), "SACBNET_KERNELS": kernels}
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "sacbnet", "register", *words, "-q", f"--out={out}"],
        env=os.environ | variables,
        check=True,
    )
    return time.monotonic() - began


def apart(out: Path, first: Path, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distances in mm between two transforms, over the voxels inside."""
    u, v = (load_displacement(folder / TRANSFORM).displacement_mm for folder in (out, first))
    return np.asarray(np.linalg.norm(u[inside] - v[inside], axis=-1), dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fixed", type=Path)
    parser.add_argument("--moving", type=Path)
    parser.add_argument("--weights", default="brain", help="default brain")
    parser.add_argument("--preset", default="balanced", help="default balanced")
    parser.add_argument("--affine", default="affine", help="default affine")
    parser.add_argument("--threads", type=int, default=4, help="default 4")
    parser.add_argument("--most", type=float, default=0.05, help="mean distance, mm; default .05")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = (arguments.fixed, arguments.moving)
        fixed, moving = paths if all(paths) else write_pair(folder)
        words = [f"--fixed={fixed}", f"--moving={moving}", f"--weights={arguments.weights}"]
        words += [f"--preset={arguments.preset}", f"--affine={arguments.affine}"]
        image = load_image(fixed)
        inside, worst = image.scaling.foreground(image.data), 0.0
        ways = [(k, n) for k in ("auto", "plain") for n in (1, arguments.threads)]
        for kernels, threads in ways:
            out = folder / f"{kernels}{threads}"
            seconds = registered(words, out, threads, kernels)
            d = apart(out, folder / f"{ways[0][0]}{ways[0][1]}", inside)
            same = "the same bytes; " if not d.any() else ""
            worst = max(worst, float(d.mean()))
            print(
                f"{'compiled' if kernels == 'auto' else 'plain'} kernels, {threads} thread(s):"
                f" {same}mean {d.mean():.5f} mm, 99th percentile {np.percentile(d, 99):.5f} mm,"
                f" largest {d.max():.5f} mm; {seconds:.0f} s"
            )
            sys.stdout.flush()
    sys.exit(not worst <= arguments.most)


if __name__ == "__main__":
    main()
