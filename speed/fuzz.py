"""Damage small valid files of every format, and count what the readers make of them.

A reader may return something, or raise a `SacbnetError` whose message has at most 300 letters. All
else is counted as a long sentence, a traceback, a crash (the process ended) or a hang (more than 20
seconds). The folder gets the valid files and results.jsonl, one line for each input; the same
command goes on where it stopped.

    python speed/fuzz.py --inputs 20000 --out FOLDER
    python speed/fuzz.py --out FOLDER --table
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from fuzz_damage import damaged
from fuzz_samples import readers, samples

LONGEST_S, SILENT_S, BATCH = 20.0, 90.0, 500
MOST_BYTES = 8 << 30  # address space; torch and ITK take about 2 GiB of it
DAMAGED = "damaged-"
GOOD = ("read", "refused")
BAD = ("long", "traceback", "crash", "hang")


def sample_of(folder: Path, n: int, formats: list[str]) -> Path:
    """The valid file that input n is made of."""
    names = sorted(path.name for path in valid(folder))
    names = [name for name in names if not formats or any(f in name for f in formats)]
    return folder / "valid" / names[n % len(names)]


def valid(folder: Path) -> list[Path]:
    """The valid files; the voxels of pairs of files are not among them."""
    files = (folder / "valid").iterdir()
    return [
        file
        for file in files
        if file.suffix not in (".img", ".raw") and not file.name.startswith(DAMAGED)
    ]


def peak_mb(reset: bool = False) -> float:
    """Largest resident memory of this process since it was reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def work(folder: Path, first: int, last: int, seed: int, formats: list[str]) -> None:
    """Read the inputs from `first` to `last`; print a line before and after each."""
    import resource
    import warnings

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    known = readers(folder)
    for file in valid(folder):  # imports and caches are no input's memory
        for reader in known[kind_of(file, known)]:
            tried(reader, file)
    for n in range(first, last):
        file = sample_of(folder, n, formats)
        content = damaged(file.read_bytes(), np.random.default_rng((seed, n)))
        print(json.dumps([n, file.name, hashlib.sha256(content).hexdigest()[:16]]), flush=True)
        path = file.with_name(DAMAGED + file.name)  # beside the files that lists name
        if file.suffix == ".hdr":
            path.with_suffix(".img").write_bytes(file.with_suffix(".img").read_bytes())
        path.write_bytes(content)
        before, began, found = peak_mb(reset=True), time.monotonic(), []
        for reader in known[kind_of(file, known)]:
            found.append(tried(reader, path))
        seconds, grown = time.monotonic() - began, peak_mb() - before
        result = next((f for f in found if f[0] not in GOOD), found[0])
        if seconds > LONGEST_S:
            result = ("hang", f"{seconds:.0f} s")
        print(json.dumps([*result, round(seconds, 3), round(grown, 1)]), flush=True)
        path.unlink(missing_ok=True)


def kind_of(file: Path, known: dict) -> str:
    return next(kind for kind in known if file.name.startswith(kind))


def tried(reader, path: Path) -> tuple[str, str]:
    """What a reader makes of a file, and the message."""
    from sacbnet.errors import SacbnetError

    try:
        reader(path)
    except SacbnetError as error:
        text = str(error)
        return ("refused" if len(text) <= 300 and "\n" not in text else "long"), text
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {str(error)[:200]}"
    return "read", ""


def batch(command: list[str], out) -> tuple[int | None, str]:
    """Run a batch in another process; returns the input that ended it, and how."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    current: list = []
    while True:
        ready, _, _ = select.select([process.stdout], [], [], SILENT_S)
        line = process.stdout.readline() if ready else None
        if not line:
            break
        found = json.loads(line)
        if len(found) == 3:
            current = found
        else:
            out.write(json.dumps([*current, *found]) + "\n")
            out.flush()
            current = []
    if line is None:
        process.kill()
    code = process.wait()
    if not current:
        return None, "" if code == 0 else f"the process ended with {code} outside an input"
    how = ["hang", f"silent for {SILENT_S:.0f} s"] if line is None else ["crash", f"{code}"]
    out.write(json.dumps([*current, *how, 0, 0]) + "\n")
    out.flush()
    return current[0], ""


def table(path: Path) -> int:
    """Print the counts by format; returns 1 if anything but reading and refusing happened."""
    rows: dict[str, collections.Counter] = {}
    worst: dict[str, list[float]] = {}
    hashes: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        _, name, digest, result, _, seconds, grown = json.loads(line)
        for key in (re.sub(r"\d(?=\.)", "", name), "all"):
            rows.setdefault(key, collections.Counter())[result] += 1
            hashes.setdefault(key, set()).add(name + digest)
            most = worst.setdefault(key, [0.0, 0.0])
            most[0], most[1] = max(most[0], seconds), max(most[1], grown)
    columns = (*GOOD, *BAD)
    print("| format | distinct inputs |", " | ".join(columns), "| slowest, s | most memory, MB |")
    print("|---" * (4 + len(columns)) + "|")
    for name in [*sorted(rows.keys() - {"all"}), "all"]:
        counts = [str(rows[name][column]) for column in columns]
        cells = [name, str(len(hashes[name])), *counts, *(f"{w:.1f}" for w in worst[name])]
        print("|", " | ".join(cells), "|")
    return int(any(rows["all"][column] for column in BAD))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000, help="how many, from the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="a folder for the results")
    parser.add_argument("--formats", nargs="*", default=[], help="parts of names, as .h5 or points")
    parser.add_argument("--table", action="store_true", help="print the counts and end")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        place, first, last = given.work
        work(Path(place), int(first), int(last), given.seed, given.formats)
        return 0
    results = given.out / "results.jsonl"
    if given.table:
        return table(results)
    if not (given.out / "valid").is_dir():
        (given.out / "valid").mkdir(parents=True)
        samples(given.out / "valid")
    done = results.read_text().splitlines() if results.exists() else []
    first = max((json.loads(line)[0] for line in done), default=-1) + 1
    with results.open("a") as out:
        while first < given.inputs:
            last = min(first + BATCH, given.inputs)
            command = [sys.executable, __file__, "--seed", str(given.seed), "--out", str(given.out)]
            command += ["--work", str(given.out), str(first), str(last)]
            if given.formats:
                command += ["--formats", *given.formats]
            stopped, problem = batch(command, out)
            if problem:
                print(problem, file=sys.stderr)
                return 1
            first = last if stopped is None else stopped + 1
    return table(results)


if __name__ == "__main__":
    sys.exit(main())
