"""Does one process that registers many pairs keep its memory and its open files?

    python speed/many_runs.py [--pairs 300] [--weights none] [--warm 30]

One `Registrar` registers small pairs of unlike shapes and grids, all different, and saves every
tenth result. After --warm pairs the resident memory, the number of open files and the number of
threads are noted; then after each tenth of the run. The exit code is 1 if, from the first note to
the last, the memory grew by more than 5 per cent, or files or threads by any number.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil

from sacbnet.registration.registrar import Registrar


def pair(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Two noisy blobs, on grids of their own."""
    rng = np.random.default_rng(seed)
    made = {}
    for name in ("fixed", "moving"):
        shape = tuple(rng.integers(22, 34, 3))
        affine = np.diag([*rng.uniform(1.8, 2.2, 3), 1.0])
        affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2) + rng.uniform(-1, 1, 3)
        at = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
        radius = np.linalg.norm((at - rng.uniform(-2, 2, 3)) / (17, 19, 15), axis=-1)
        data = 100 / (1 + np.exp(12 * (radius - 1))) + 40 * np.exp(-6 * radius**2)
        made[name] = (data + rng.normal(0, 1, shape), affine)
    return made


def state(process: psutil.Process) -> tuple[float, int, int]:
    """Resident memory in MiB, open files, threads of Python."""
    return process.memory_info().rss / 2**20, process.num_fds(), threading.active_count()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=300, help="default 300")
    parser.add_argument("--weights", default="none", help="default none")
    parser.add_argument("--affine", default="rigid", help="default rigid")
    parser.add_argument("--warm", type=int, default=30, help="pairs before the first note")
    arguments = parser.parse_args()
    registrar = Registrar(weights=arguments.weights, affine=arguments.affine, refine=2)
    process, notes = psutil.Process(), []
    every = max(1, (arguments.pairs - arguments.warm) // 10)
    with tempfile.TemporaryDirectory() as folder:
        for n in range(arguments.pairs):
            result = registrar.register(**pair(n))
            if n % 10 == 0:
                result.save(Path(folder, str(n % 50)), overwrite=True)
            del result
            done = n + 1 - arguments.warm
            if done >= 0 and done % every == 0:
                notes.append(state(process))
                memory, files, threads = notes[-1]
                print(f"{n + 1:4d} pairs: {memory:.1f} MiB, {files} files, {threads} threads")
                sys.stdout.flush()
    first, last = notes[0], notes[-1]
    grown = 100 * (last[0] / first[0] - 1)
    flat = grown <= 5 and last[1] <= first[1] and last[2] <= first[2]
    print(f"memory {grown:+.1f} %, files {last[1] - first[1]:+d}, threads {last[2] - first[2]:+d}")
    sys.exit(not flat)


if __name__ == "__main__":
    main()
