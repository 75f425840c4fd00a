"""What a process that was killed left behind, and what belongs to one that lives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sacbnet.files import atomic_file, check_writable, staged_folder, staging, sweep

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
HEAD = """
import os, signal, sys
from pathlib import Path
from sacbnet.files import atomic_file, staged_folder, staging
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
"""
FILE = """
with atomic_file(Path(sys.argv[1], "a")) as part:
    part.write_text("half")
    die()
"""
# the process dies when it has renamed a number of files; its results are a, b and run.json
FOLDER = """
left, replace = int(sys.argv[2]), os.replace
def counted(*names):
    global left
    if not left:
        die()
    left -= 1
    replace(*names)
os.replace = counted
with staged_folder(sys.argv[1], stale=["old"]) as folder:
    for name in ("a", "b", "run.json"):
        (folder / name).write_text("new")
os.replace = replace
die()
"""
MOVED = """
import shutil
shutil.rmtree = die
"""


def killed(body: str, *arguments: object) -> None:
    command = [sys.executable, "-c", HEAD + body, *map(str, arguments)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


@pytest.mark.parametrize("way", ["sweep", "atomic_file", "staged_folder", "check_writable"])
def test_what_a_killed_writer_left_is_swept(tmp_path, way):
    killed(FILE, tmp_path)
    (left,) = tmp_path.iterdir()
    shutil.copytree(left, tmp_path / ".sacbnet-second12")
    mine = {".sacbnet-notes", ".sacbnet", "sacbnet-abcdefgh", ".sacbnet-abcdefghi", "sub"}
    for name in mine:
        (tmp_path / name).mkdir()
    (tmp_path / ".sacbnet-is_afile").write_text("x")
    os.symlink(tmp_path / "sub", tmp_path / ".sacbnet-is_alink")
    mine |= {".sacbnet-is_afile", ".sacbnet-is_alink"}
    if way == "sweep":
        sweep(tmp_path)
    elif way == "check_writable":
        check_writable(tmp_path)
    else:
        with atomic_file(tmp_path / "n") if way == "atomic_file" else staged_folder(tmp_path) as p:
            (p if way == "atomic_file" else p / "n").write_text("new")
        mine |= {"n"}
    assert names(tmp_path) == mine


def test_what_belongs_to_a_living_process_stays(tmp_path):
    hold = "\nwith staging(Path(sys.argv[1])) as folder:\n    print(folder, flush=True)\n"
    hold += "    sys.stdin.read()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + hold, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process, staging(tmp_path) as mine:
        folder = Path(process.stdout.readline().strip())
        sweep(tmp_path)
        assert folder.is_dir() and mine.is_dir() and folder.parent == mine.parent == tmp_path
        process.stdin.close()
        assert process.wait() == 0 and not folder.exists()
    assert not names(tmp_path)


def test_without_a_lock_the_age_decides(tmp_path):
    """As an earlier version left them, or one that was killed before it had the lock."""
    for name in ("young123", "ancient1", "replaced"):
        (tmp_path / f".sacbnet-{name}" / "new").mkdir(parents=True)
    (tmp_path / ".sacbnet-replaced" / "old").mkdir()  # may hold the only copy of results
    (tmp_path / ".sacbnet-empty123").mkdir()
    for name in ("ancient1", "replaced"):
        os.utime(tmp_path / f".sacbnet-{name}", times=(time.time() - 2 * 86400,) * 2)
    sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {".sacbnet-young123", ".sacbnet-replaced"}


@pytest.mark.parametrize("renamed", range(7))
@pytest.mark.parametrize("earlier", [("a", "old", "run.json"), ()])
def test_results_that_were_being_replaced_return(tmp_path, renamed, earlier):
    """Killed between any two renames: the results are the earlier ones, or all of the new ones."""
    for name in earlier:
        (tmp_path / name).write_text("old")
    (tmp_path / "mine").write_text("mine")
    killed(FOLDER, tmp_path, renamed)
    sweep(tmp_path)
    found = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert found.pop("mine") == "mine"
    if renamed < len(earlier) + 3:
        assert found == dict.fromkeys(earlier, "old")
    else:
        assert found == dict.fromkeys(("a", "b", "run.json"), "new")


def test_results_that_had_all_arrived_stay(tmp_path):
    """Killed after the last rename, when only the temporary folder was left to remove."""
    (tmp_path / "run.json").write_text("old")
    killed(MOVED + FOLDER, tmp_path, 100)
    assert any(p.name.startswith(".sacbnet-") for p in tmp_path.iterdir())
    sweep(tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == dict.fromkeys(
        ("a", "b", "run.json"), "new"
    )


def test_later_results_are_not_undone(tmp_path):
    """Another process finished after the one that was killed: its results hold."""
    (tmp_path / "run.json").write_text("old")
    killed(FOLDER, tmp_path, 2)
    for name in ("b", "run.json"):
        (tmp_path / name).write_text("newer")
    sweep(tmp_path)
    found = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert found == {"a": "new", "b": "newer", "run.json": "newer"}


def test_a_list_of_names_that_is_cut_off_means_that_nothing_had_moved(tmp_path):
    (tmp_path / "run.json").write_text("old")
    killed(FOLDER, tmp_path, 0)
    (left,) = tmp_path.glob(".sacbnet-????????")
    assert json.loads((left / "names.json").read_text()) == ["a", "b", "run.json"]
    (left / "names.json").write_text('["a", "b')
    sweep(tmp_path)
    assert names(tmp_path) == {"run.json"} and (tmp_path / "run.json").read_text() == "old"


def test_a_folder_that_a_sweep_takes_at_its_birth_is_made_again(tmp_path, monkeypatch):
    """Between its making and its lock a folder looks like one that was left behind."""
    import tempfile

    from sacbnet.files import staging as of_package

    mkdtemp, taken = tempfile.mkdtemp, []

    def swept(*arguments, **named):
        folder = mkdtemp(*arguments, **named)
        if len(taken) < 3:
            taken.append(folder)
            os.rmdir(folder)
        return folder

    monkeypatch.setattr("tempfile.mkdtemp", swept)
    with of_package(tmp_path) as folder:
        (folder / "a").write_text("x")
        sweep(tmp_path)
        assert (folder / "a").read_text() == "x"
    assert taken and not names(tmp_path)
