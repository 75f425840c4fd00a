"""Damage small valid files of every reader, and count what the readers make of them.

A reader may return something, or raise a `SacbnetError` whose message has at most 300 letters. All
else is counted as a traceback, a crash (the process ended) or a hang.

    python speed/fuzz.py --inputs 2000 --seed 0
"""

from __future__ import annotations

import argparse
import collections
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LONGEST_S, MOST_BYTES = 20.0, 6 << 30


def samples(folder: Path) -> None:
    """Write one small valid file for each reader."""
    from sacbnet.imaging.points import Points
    from sacbnet.io.images import save_image
    from sacbnet.io.points import save_points
    from sacbnet.io.transforms import save_affine, save_displacement
    from sacbnet.spatial.grid import Grid
    from sacbnet.spatial.transforms import Affine, DisplacementField

    noise = np.random.default_rng(0).random((6, 7, 8, 3)).astype(np.float32)
    grid = Grid((6, 7, 8), np.diag([1.0, 2, 3, 1]))
    for suffix in (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha"):
        save_image(folder / f"image{suffix}", noise[..., 0], grid)
    for suffix in (".nii", ".nrrd", ".mha"):
        save_displacement(folder / f"field{suffix}", DisplacementField(grid, noise))
    for suffix in (".mat", ".tfm"):
        save_affine(folder / f"affine{suffix}", Affine())
    for suffix in (".csv", ".mrk.json"):
        save_points(folder / f"points{suffix}", Points(noise.reshape(-1, 3)[:9]))
    (folder / "points.fcsv").write_text("# CoordinateSystem = LPS\nid,1,2,3,0,0,0,1,1,1,0,a,b,c\n")
    for protocol in (0, 2, 4, 5):
        content = pickle.dumps((noise[..., 0], noise[..., 1] > 0), protocol)
        (folder / f"array{protocol}.pkl").write_bytes(content)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Change, remove, repeat or insert a few bytes; half of the time near the start."""
    out = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        end = max(1, min(len(out), 400) if rng.random() < 0.5 else len(out))
        at, length = int(rng.integers(0, end)), int(2 ** rng.uniform(0, 5))
        kind = rng.integers(0, 6)
        if kind == 0:
            out[at : at + length] = rng.bytes(length)
        elif kind == 1:
            del out[at : at + length]
        elif kind == 2:
            out[at:at] = out[at : at + length] * int(2 ** rng.uniform(0, 9))
        elif kind == 3:
            del out[at:]
        elif kind == 4:
            out[at : at + length] = bytes([rng.choice([0, 255, 57, 45])]) * length
        elif out:
            at = min(at, len(out) - 1)
            out[at] ^= 1 << int(rng.integers(0, 8))
    return bytes(out)


def work(folder: Path, first: int, last: int, seed: int) -> None:
    """Read the inputs from `first` to `last`; print a line before and after each."""
    import resource
    import warnings

    from sacbnet.data.pickles import read_pickle
    from sacbnet.errors import SacbnetError
    from sacbnet.io.images import load_image, load_reference
    from sacbnet.io.points import load_points
    from sacbnet.io.transforms import load_transform

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    readers = {
        "image": (load_image, load_reference),
        "field": (load_transform, load_image),
        "affine": (load_transform,),
        "points": (load_points,),
        "array": (read_pickle,),
    }
    files = sorted((folder / "valid").iterdir())
    for n in range(first, last):
        file = files[n % len(files)]
        path = folder / file.name
        path.write_bytes(damaged(file.read_bytes(), np.random.default_rng((seed, n))))
        print(n, file.name, flush=True)
        kind = next(k for k in readers if file.name.startswith(k))
        for reader in readers[kind]:
            result, began = "read", time.monotonic()
            try:
                reader(path)
            except SacbnetError as error:
                result = "refused" if len(str(error)) <= 300 else "long"
            except Exception as error:
                result = f"traceback {type(error).__name__} {str(error)[:80]!r}"
            if time.monotonic() - began > LONGEST_S:
                result = "hang"
            print("=", result, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(Path(given.work[0]), int(given.work[1]), int(given.work[2]), given.seed)
        return 0
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "valid").mkdir()
        samples(Path(place) / "valid")
        first = 0
        while first < given.inputs:
            command = [sys.executable, __file__, "--seed", str(given.seed), "--work", place]
            last = min(first + 500, given.inputs)
            try:
                done = subprocess.run(
                    [*command, str(first), str(last)], capture_output=True, timeout=600, check=False
                )
                ended, told = done.returncode, done.stdout.decode()
            except subprocess.TimeoutExpired as late:
                ended, told = -1, (late.stdout or b"").decode()
            now = ""
            for line in told.splitlines():
                if line.startswith("= "):
                    counts[line[2:].split()[0]] += 1
                    if line[2:] not in ("read", "refused"):
                        print(now, line)
                else:
                    now = line
            if ended:
                counts["crash or hang"] += 1
                print(now, "ended the process with", ended)
                last = int(now.split()[0]) + 1 if now else last
            first = last
    print(dict(counts))
    return 1 if counts.keys() - {"read", "refused"} else 0


if __name__ == "__main__":
    sys.exit(main())
