"""Puts small mistakes into the program, one at a time, and says which of them the tests find.

`mutants.toml` lists the mistakes: a file, a text in it, the text in its place, and the tests that
should fail. The work happens in a copy of the files that git tracks, in a folder without the shared
data: tests on real data are skipped there, as in a clean clone. A mistake counts as found if a test
fails, crashes or runs too long, and the same test passes without the mistake.

    python speed/mutants.py COPY                     all of them
    python speed/mutants.py COPY --only kmeans conv  those whose file or name has one of these words

Each run of tests is a fork of one process that has loaded the libraries, but not sacbnet: loading
them takes longer than most of these tests. Exit status 1: fewer than 90% were found, or a mistake
of the list no longer fits its file.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".toml")
WANTED = 0.9  # share of the mistakes that the tests must find
LONGEST = 300.0  # seconds of the tests of one mistake
LIBRARIES = (
    "pytest", "numpy", "scipy.ndimage", "scipy.optimize", "scipy.stats", "scipy.spatial.transform",
    "torch", "torch.nn.functional", "torch.utils.data", "hypothesis", "nibabel", "SimpleITK",
    "safetensors.torch", "typer", "rich.table", "cattrs", "psutil", "filelock", "tomli_w",
)  # fmt: skip
# No optimisation: compiling would be most of the time, and a mistake stays one.
FLAGS = ("-DSACBNET_LEVELS=best", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0")


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
    """Copy the files that git tracks, as they are now, and remove what an earlier copy left."""
    for name in ("src", "tests", "speed"):
        shutil.rmtree(copy / name, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - the git of the PATH is meant
        cwd=root, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name)


def prepare(copy: Path) -> None:
    """Let this process and its forks use the copy: its sources, and kernels of its own."""
    (copy / ".build").mkdir(mode=0o700, exist_ok=True)
    os.environ |= {
        "PYTHONPATH": str(copy / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(copy / "src"))
    os.chdir(copy)
    for name in LIBRARIES:
        importlib.import_module(name)
    if any(name.split(".")[0] == "sacbnet" for name in sys.modules):
        raise SystemExit("sacbnet is loaded already; each fork must load it for itself")


def fork(task: Callable[[], int], printed: Path, seconds: float) -> int | None:
    """Run a task in a fork, and give what it returned.

    None where it took too long, a negative number where a signal ended it.
    """
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setsid()  # so that processes which the tests started end with it
            to = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(to, 1)
            os.dup2(to, 2)
            code = task()
            sys.stdout.flush()
        finally:
            os._exit(code)
    end = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.05)


def run_tests(copy: Path, tests: tuple[str, ...]) -> tuple[str, str]:
    """Run tests in the copy: "pass", "fail", "slow" or "error", and the line that says why."""
    import pytest

    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]
    code = fork(lambda: int(pytest.main(arguments)), copy / ".printed", LONGEST)
    lines = (copy / ".printed").read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.strip()] or ["nothing was printed"]
    line = next((x for x in said if x.startswith(("FAILED", "ERROR"))), said[-1])
    if code is None:
        return "slow", f"more than {LONGEST:.0f} s"
    return {0: "pass", 1: "fail"}.get(code, "fail" if code < 0 else "error"), line


def failed_in(line: str, tests: tuple[str, ...]) -> tuple[str, ...]:
    """The test that a line of pytest names as failed; all tests where it names none."""
    name = line.removeprefix("FAILED ").split(" - ")[0].strip()
    return (name,) if line.startswith("FAILED ") and "::" in name else tests


def compiles(copy: Path) -> bool:
    """Whether the kernels of the copy compile. Only what has changed is compiled again."""
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    if cmake is None:
        raise SystemExit("cmake is not installed")
    source, build = copy / "src/sacbnet/kernels/cpu", copy / ".build"
    for words in (["-S", source, "-B", build, *FLAGS], ["--build", build, "--parallel", "2"]):
        if subprocess.run([cmake, *words], capture_output=True, check=False).returncode:
            return False
    return True


def valid(path: Path) -> bool:
    """Whether a file of Python is one; other files pass."""
    try:
        return path.suffix != ".py" or bool(compile(path.read_bytes(), str(path), "exec"))
    except SyntaxError:
        return False


def outcome(mutant: Mutant, copy: Path, passed: dict[tuple[str, ...], bool]) -> tuple[str, str]:
    """What the tests say to one mistake: "found", "missed" or "stale", and why."""
    if not mutant.fits(copy):
        return "stale", "the text is not in the file exactly once"
    path = copy / mutant.file
    before = path.read_text(encoding="utf-8")
    compiled = path.suffix in (".cpp", ".h")
    try:
        path.write_text(before.replace(mutant.old, mutant.new), encoding="utf-8")
        if not valid(path) or (compiled and not compiles(copy)):
            return "stale", "it does not compile"
        end, line = run_tests(copy, mutant.tests)
    finally:
        path.write_text(before, encoding="utf-8")
        if compiled:
            compiles(copy)
    if end == "pass":
        return "missed", line
    failed = failed_in(line, mutant.tests)
    if failed not in passed:
        passed[failed] = run_tests(copy, failed)[0] == "pass"
    return ("found", line) if passed[failed] else ("stale", f"fails without it, too: {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("copy", type=Path, help="folder for the copy, of this script alone")
    parser.add_argument("--only", nargs="+", default=(), metavar="WORD")
    options = parser.parse_args()
    copy = options.copy.resolve()
    if copy.is_dir() and any(copy.iterdir()) and not (copy / ".build").is_dir():
        parser.error(f"{copy} holds other files; give a new folder, or one of this script")
    copy.mkdir(parents=True, mode=0o700, exist_ok=True)
    copy_tracked(ROOT, copy)
    prepare(copy)
    listed = read_list()
    if options.only:
        listed = [m for m in listed if any(w in f"{m.file} {m.name}" for w in options.only)]
    counted = dict.fromkeys(("found", "missed", "stale"), 0)
    passed: dict[tuple[str, ...], bool] = {}
    compiles(copy)
    for n, mutant in enumerate(listed, 1):
        start = time.monotonic()
        end, line = outcome(mutant, copy, passed)
        counted[end] += 1
        spent = time.monotonic() - start
        told = f"{n:3} {end:6} {spent:4.0f} s  {mutant.file}: {mutant.name}"
        print(f"{told}  [{line[:120]}]", flush=True)
    made = counted["found"] + counted["missed"]
    print(
        f"{counted['found']} of {made} found ({100 * counted['found'] / max(made, 1):.1f}%);"
        f" {counted['stale']} do not fit any more"
    )
    return int(counted["found"] < WANTED * made or counted["stale"] > 0)


if __name__ == "__main__":
    sys.exit(main())
