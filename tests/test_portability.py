"""sacbnet without what only POSIX systems have: some modules, some signals, and os.fork.

Windows and macOS are not at hand in every test run. Python starts here as it would there: a file
`sitecustomize.py` takes these things away before anything else is imported, in child processes too.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sacbnet.errors import InputError
from sacbnet.kernels import dispatch
from sacbnet.kernels.cpu import memory

POORER = """
import builtins
import multiprocessing.context
import os
import signal

# triton exists on Linux only. Other packages, as they are built for Linux, may need some of these.
missing = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "triton"}
usual = builtins.__import__


def poorer(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "").partition(".")[0]
    if importer in ("sacbnet", "__main__") and name.partition(".")[0] in missing:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return usual(name, globals, locals, fromlist, level)


builtins.__import__ = poorer
for name in ("fork", "forkpty", "killpg", "setsid"):
    vars(os).pop(name, None)
for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGALRM", "SIGQUIT"):
    vars(signal).pop(name, None)
for name in ("fork", "forkserver"):
    multiprocessing.context._concrete_contexts.pop(name, None)
multiprocessing.set_start_method("spawn", force=True)
"""
EVERY_MODULE = """
import importlib, os, pkgutil, signal
import sacbnet

assert not hasattr(os, "fork") and not hasattr(signal, "SIGUSR1")
try:
    import fcntl
except ModuleNotFoundError:
    print("no fcntl")
names = [m.name for m in pkgutil.walk_packages(sacbnet.__path__, "sacbnet.")]
names = [n for n in names if not n.startswith("sacbnet.kernels.cuda.") and n != "sacbnet.__main__"]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
CREW = """
if __name__ == "__main__":  # a spawned process imports this file again
    import multiprocessing

    from sacbnet.cohort.crew import Crew, _local
    from sacbnet.errors import shortened

    try:
        multiprocessing.get_context("fork")
    except ValueError:
        print("no fork")
    with _local(1, 1) as client:
        print(dict(Crew(client, 1).results(shortened, ["one", "two", "three"])))
"""


def _run(folder: Path, code: str) -> str:
    """What a program prints on such a system."""
    (folder / "sitecustomize.py").write_text(POORER)
    program = folder / "program.py"
    program.write_text(code)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_is_imported_without_what_only_posix_has(tmp_path: Path) -> None:
    said, number = _run(tmp_path, EVERY_MODULE).split("\n", 1)
    assert said == "no fcntl" and int(number) > 200


def test_worker_processes_start_without_fork(tmp_path: Path) -> None:
    found = _run(tmp_path, CREW)
    assert (
        found.startswith("no fork")
        and "0: 'one'" in found
        and "1: 'two'" in found
        and "2: 'three'" in found
    )


def test_a_device_that_torch_does_not_have_here_is_refused() -> None:
    with pytest.raises(InputError, match=r"'mps' .*; give auto, cpu or cuda"):
        dispatch.pick_device("mps")


def test_a_device_without_float64_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's GPUs have none; torch says so by a TypeError."""
    zeros = dispatch.torch.zeros

    def on_mps(*shape: int, device: object, dtype: object = None) -> object:
        if dtype == dispatch.torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return zeros(*shape)

    monkeypatch.setattr(dispatch.torch, "zeros", on_mps)
    with pytest.raises(InputError, match="'mps' has no numbers of 64 bits; give auto, cpu or cuda"):
        dispatch.pick_device("mps")


def test_memory_for_results_is_had_where_mappings_take_no_flags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On Windows mmap has no argument `flags`."""

    class Windows(mmap.mmap):
        def __new__(cls, number: int, size: int) -> Windows:
            return super().__new__(cls, number, size)

    monkeypatch.setattr(memory.mmap, "mmap", Windows)
    monkeypatch.setattr(memory, "PRIVATE", {})
    volume = memory.empty((1, 4, 64, 64, 64)).fill_(3.0)
    assert float(volume.sum()) == 3.0 * 4 * 64**3
