"""Puts small mistakes into the program, one at a time, and says which of them the tests find.

`mutants.toml` lists the mistakes: a file, a text in it, the text in its place, and the tests that
should fail. The work happens in a copy of the files that git tracks, in a folder without the shared
data: tests on real data are skipped there, as in a clean clone. First all these tests must pass
without any mistake. A mistake counts as found if a test fails or runs too long.

    python speed/mutants.py COPY                     all of them
    python speed/mutants.py COPY --only kmeans conv  those whose file or name has one of these words

Exit status 1: fewer than 90% were found, or a text of the list is not in its file exactly once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".toml")
WANTED = 0.9  # share of the mistakes that the tests must find
LONGEST = 300  # seconds of the tests of one mistake
COMPILE = "from sacbnet.kernels.cpu.native import library; assert library() is not None"
# A compiler that keeps its objects: most mistakes in C++ change one file. The preprocessed text is
# the key, so that a change of a header counts.
COMPILER = """#!/usr/bin/env bash
case " $* " in *" -c "*) ;; *) exec {compiler} "$@" ;; esac
arguments=("$@")
target="${{arguments[-1]}}"
unset 'arguments[-1]' 'arguments[-1]'
key=$( ({compiler} "${{arguments[@]/#-c/-E}}"; echo "${{arguments[@]}}") | sha256sum | cut -c1-40)
kept="{folder}/$key.o"
[ -f "$kept" ] || {{ {compiler} "$@" && cp "$target" "$kept"; exit; }}
cp "$kept" "$target"
"""


@dataclass(frozen=True)
class Mutant:
    """One mistake: `new` in place of `old` in a file, and the tests that should find it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def fits(self, root: Path) -> bool:
        """Whether the file holds the text exactly once."""
        path = root / self.file
        return path.is_file() and path.read_text(encoding="utf-8").count(self.old) == 1


def read_list(path: Path = LIST) -> list[Mutant]:
    """The mistakes of the list."""
    tree = tomllib.loads(path.read_text(encoding="utf-8"))
    return [Mutant(**{**row, "tests": tuple(row["tests"].split())}) for row in tree["mutant"]]


def copy_tracked(root: Path, copy: Path) -> None:
    """Copy the files that git tracks, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name)


def environment(copy: Path) -> dict[str, str]:
    """The environment of the tests: the copy's sources, a cache of its own, a keeping compiler."""
    cache, objects = copy / ".cache", copy / ".objects"
    for folder in (cache, objects):
        folder.mkdir(mode=0o700, exist_ok=True)
    compiler = copy / ".compiler"
    compiler.write_text(
        COMPILER.format(compiler=shutil.which("c++") or "g++", folder=objects), encoding="utf-8"
    )
    compiler.chmod(0o700)
    return {
        **os.environ,
        "PYTHONPATH": str(copy / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SACBNET_CACHE": str(cache),
        "CXX": str(compiler),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }


def run_tests(copy: Path, tests: tuple[str, ...], seconds: float) -> tuple[str, str]:
    """Run tests in the copy: "pass", "fail", "slow" or "error", and the last line they print."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment(copy), capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "slow", f"more than {seconds:.0f} s"
    lines = [line for line in done.stdout.splitlines() if line.strip()] or [done.stderr[-200:]]
    found = next((line for line in lines if line.startswith(("FAILED", "ERROR"))), lines[-1])
    # a C library that crashes ends pytest by a signal, whose number is negative
    ends = {0: "pass", 1: "fail"}
    return ends.get(done.returncode, "fail" if done.returncode < 0 else "error"), found


def outcome(mutant: Mutant, copy: Path) -> tuple[str, str]:
    """What the tests say to one mistake: "found", "missed", or "stale" where the list is old."""
    if not mutant.fits(copy):
        return "stale", "the text is not in the file exactly once"
    path = copy / mutant.file
    before = path.read_text(encoding="utf-8")
    try:
        path.write_text(before.replace(mutant.old, mutant.new), encoding="utf-8")
        if path.suffix in (".cpp", ".h"):
            compiled = subprocess.run(
                [sys.executable, "-c", COMPILE], cwd=copy, env=environment(copy),
                capture_output=True, check=False,
            )  # fmt: skip
            if compiled.returncode:
                return "stale", "it does not compile"
        end, line = run_tests(copy, mutant.tests, LONGEST)
    finally:
        path.write_text(before, encoding="utf-8")
    # an error while tests are collected says that the mistake was none that could be made unseen
    names = {"pass": "missed", "fail": "found", "slow": "found", "error": "stale"}
    return names[end], line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("copy", type=Path, help="folder for the copy; it must not exist")
    parser.add_argument("--only", nargs="+", default=(), metavar="WORD")
    options = parser.parse_args()
    copy = options.copy.resolve()
    copy.mkdir(parents=True)
    copy_tracked(ROOT, copy)
    mutants = [
        m
        for m in read_list()
        if not options.only or any(w in f"{m.file} {m.name}" for w in options.only)
    ]
    tests = tuple(sorted({test for m in mutants for test in m.tests}))
    end, line = run_tests(copy, tests, 3600)
    if end != "pass":
        print(f"without any mistake the tests end with {end!r}: {line}")
        return 1
    counted = dict.fromkeys(("found", "missed", "stale"), 0)
    for n, mutant in enumerate(mutants, 1):
        start = time.monotonic()
        end, line = outcome(mutant, copy)
        counted[end] += 1
        spent = time.monotonic() - start
        print(f"{n:3} {end:6} {spent:4.0f} s  {mutant.file}: {mutant.name}  [{line}]", flush=True)
    share = counted["found"] / max(len(mutants) - counted["stale"], 1)
    print(
        f"{counted['found']} of {len(mutants) - counted['stale']} found ({100 * share:.1f}%),"
        f" {counted['stale']} do not fit their file any more"
    )
    return int(share < WANTED or counted["stale"] > 0)


if __name__ == "__main__":
    sys.exit(main())
