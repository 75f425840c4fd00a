"""Does a cohort lose nothing, do nothing twice, use its workers, and keep its memory?

    python speed/cohort.py FOLDER OUT [--pairs 60] [--workers 2] [--long 200] [-- OPTION ...]

FOLDER holds images and labels of one set, such as hippocampus. Three runs of `sacbnet cohort`:

killed     --pairs pairs on --workers local workers. One input is truncated. When half of the pairs
           are finished, one worker is killed (SIGKILL).
scheduler  the same pairs, without a kill, by `dask scheduler` and `dask worker` in processes of
           their own. Its transforms must be those of the first run, byte by byte.
long       --long pairs on one worker of that scheduler; the resident memory of the worker after
           each pair.

A watcher counts how often each run.json appears: a pair that is done twice is seen. The ideal wall
time is the time that the pairs themselves took in the workers, over the number of workers. The
options after -- go to `sacbnet cohort` (default: --weights none --preset fast). The exit code is 1
if something was lost or done twice, or if the transforms differ.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

PORT = 18786


def write_list(folder: Path, out: Path, count: int, damaged: bool) -> Path:
    """A CSV of pairs (each image to the next one); the input in the middle is truncated."""
    images = sorted((folder.absolute() / "images").glob("*.nii*"))
    pairs = [(images[n % len(images)], images[(n + 1) % len(images)]) for n in range(count)]
    rows = [[f"pair{n:03d}", str(f), str(m)] for n, (f, m) in enumerate(pairs)]
    if damaged:
        bad = out.absolute() / "damaged.nii.gz"
        source = Path(rows[count // 2][2]).read_bytes()
        bad.write_bytes(source[: len(source) // 2])
        rows[count // 2][2] = str(bad)
    path = out / f"pairs{count}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["name", "fixed", "moving"], *rows])
    return path


class Watcher(threading.Thread):
    """Sees each run.json that appears in a cohort, and calls `look` several times a second."""

    def __init__(self, out: Path, look: Callable[[int], None]) -> None:
        super().__init__(daemon=True)
        self.out, self.look, self.over = out, look, threading.Event()
        self.written: Counter[str] = Counter()

    def run(self) -> None:
        known: dict[Path, tuple[int, int]] = {}
        while not self.over.wait(0.05):
            for path in self.out.glob("*/run.json"):
                with suppress(OSError):
                    found = path.stat()
                    state = (found.st_ino, found.st_mtime_ns)
                    if known.get(path) != state:
                        known[path] = state
                        self.written[path.parent.name] += 1
            self.look(len(self.written))


def run_cohort(
    pairs: Path, out: Path, options: list[str], more: list[str], look: Callable[[int], None]
) -> tuple[dict[str, Any], float, Counter[str], str]:
    """summary.json, wall seconds, how often each result was written, and stderr."""
    command = [sys.executable, "-m", "sacbnet", "cohort", str(pairs), f"--out={out}"]
    watcher = Watcher(out, look)
    watcher.start()
    began = time.time()
    done = subprocess.run([*command, *options, *more], capture_output=True, text=True)
    wall = time.time() - began
    time.sleep(0.3)
    watcher.over.set()
    watcher.join()
    if not (out / "summary.json").is_file():
        sys.exit(f"no summary: {done.stderr[-2000:]}")
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return summary, wall, watcher.written, done.stderr


def in_workers(out: Path) -> float:
    """Seconds that the pairs took in the workers, files included."""
    return sum(
        json.loads(p.read_text(encoding="utf-8"))["wall_seconds"] for p in out.glob("*/run.json")
    )


def worker_processes(root: int) -> list[psutil.Process]:
    """The processes below one process that have loaded torch."""
    found = []
    for child in psutil.Process(root).children(recursive=True):
        with suppress(psutil.Error):
            if any("libtorch_cpu" in m.path for m in child.memory_maps()):
                found.append(child)
    return found


def told(name: str, summary: dict[str, Any], wall: float, out: Path, written: Counter[str], n: int):
    statuses = Counter(row["status"] for row in summary["outcomes"])
    ideal = in_workers(out) / n
    return {
        "run": name,
        "pairs": summary["pairs"],
        **dict(statuses),
        "waiting": summary["waiting"],
        "written more than once": [k for k, v in written.items() if v > 1],
        "written": len(written),
        "failures": [r["error"] for r in summary["outcomes"] if r["status"] == "failed"],
        "wall seconds": round(wall, 1),
        "ideal seconds": round(ideal, 1),
        "wall over ideal": round(wall / ideal, 3),
        "load average": os.getloadavg()[0],
    }


@contextmanager
def scheduler(workers: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`dask scheduler` and workers, each a process of its own, as a user starts them."""
    address = f"tcp://127.0.0.1:{PORT}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    started = [subprocess.Popen([*dask, f"--port={PORT}", "--no-dashboard"], **quiet)]  # type: ignore[call-overload]
    try:
        one = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads=1"]
        started += [
            subprocess.Popen([*one, "--no-dashboard", "--memory-limit=0"], **quiet)  # type: ignore[call-overload]
            for _ in range(workers)
        ]
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--long", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=["killed", "scheduler", "long"])
    own, options = sys.argv[1:], ["--weights=none", "--preset=fast"]
    if "--" in own:
        own, options = own[: own.index("--")], own[own.index("--") + 1 :]
    given = parser.parse_args(own)
    given.out.mkdir(parents=True)
    pairs = write_list(given.folder, given.out, given.pairs, damaged=True)
    bad, results = False, {}

    if "killed" in given.only:
        killed: list[int] = []

        def kill(finished: int) -> None:
            if finished >= given.pairs // 2 and not killed:
                workers = worker_processes(os.getpid())
                if len(workers) > 1:
                    busy = max(workers[1:], key=lambda p: p.create_time())
                    killed.append(busy.pid)
                    os.kill(busy.pid, signal.SIGKILL)

        out = given.out / "killed"
        summary, wall, written, _ = run_cohort(
            pairs, out, options, [f"--workers={given.workers}"], kill
        )
        row = told("killed", summary, wall, out, written, given.workers) | {"killed": len(killed)}
        bad |= row.get("done") != given.pairs - 1 or row.get("failed") != 1 or not killed
        bad |= bool(row["written more than once"])
        results["killed"] = {r["name"]: r["transform_sha256"] for r in summary["outcomes"]}
        print(json.dumps(row), flush=True)

    if "scheduler" in given.only:
        with scheduler(given.workers):
            out = given.out / "scheduler"
            at = f"--scheduler=tcp://127.0.0.1:{PORT}"
            summary, wall, written, _ = run_cohort(pairs, out, options, [at], lambda _: None)
        row = told("scheduler", summary, wall, out, written, given.workers)
        results["scheduler"] = {r["name"]: r["transform_sha256"] for r in summary["outcomes"]}
        if "killed" in results:
            row["same transforms"] = results["scheduler"] == results["killed"]
            bad |= not row["same transforms"]
        bad |= row.get("done") != given.pairs - 1 or row.get("failed") != 1
        bad |= bool(row["written more than once"])
        print(json.dumps(row), flush=True)

    if "long" in given.only:
        memory: dict[int, float] = {}
        with scheduler(1) as started:

            def look(finished: int) -> None:
                with suppress(psutil.Error, ValueError):
                    rss = max(p.memory_info().rss for p in worker_processes(started[1].pid))
                    memory[finished] = max(memory.get(finished, 0.0), rss / 2**20)

            out = given.out / "long"
            long = write_list(given.folder, given.out, given.long, damaged=False)
            at = f"--scheduler=tcp://127.0.0.1:{PORT}"
            summary, wall, written, _ = run_cohort(long, out, options, [at], look)
        row = told("long", summary, wall, out, written, 1)
        seen = np.array(sorted(memory.items()))
        for part, name in (
            (slice(len(seen) // 10, len(seen) // 2), "first half"),
            (slice(len(seen) // 2, None), "second half"),
        ):
            row[f"MiB, {name}: median and largest"] = [
                round(float(f(seen[part, 1]))) for f in (np.median, np.max)
            ]
        row["MiB a pair, by a line"] = round(float(np.polyfit(*seen[len(seen) // 10 :].T, 1)[0]), 3)
        bad |= row.get("done") != given.long
        print(json.dumps(row), flush=True)
    sys.exit(int(bad))


if __name__ == "__main__":
    main()
