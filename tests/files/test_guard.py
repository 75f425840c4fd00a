"""Checks before work starts, and locks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from sacbnet.errors import InputError, OutputError
from sacbnet.files import check_writable, locked


def _names(folder) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def test_a_check_makes_nothing_where_others_may_be_about_to_write(tmp_path, monkeypatch):
    made, mkdir = [], os.mkdir
    monkeypatch.setattr(
        "os.mkdir", lambda path, *more: (made.append(str(path)), mkdir(path, *more))
    )
    check_writable(tmp_path / "deep" / "out")
    assert made
    assert str(tmp_path / "deep") not in made and str(tmp_path / "deep" / "out") not in made
    assert not _names(tmp_path)


def test_a_name_that_is_too_long_is_found_by_the_check(tmp_path):
    with pytest.raises(OutputError, match="could not be written"):
        check_writable(tmp_path / "deep" / ("n" * 300))
    assert not _names(tmp_path)


TASK = """
import sys
import tempfile
from sacbnet.files import check_writable, staged_folder
for n in range(300):
    check_writable(sys.argv[1])
    try:
        with staged_folder(sys.argv[1]) as folder:
            (folder / sys.argv[2]).write_text("x")
            if n < 299:
                raise KeyError  # a task that fails removes what it made
    except KeyError:
        pass
"""


def test_many_tasks_with_one_folder(tmp_path):
    tasks = [
        subprocess.Popen([sys.executable, "-c", TASK, tmp_path / "deep" / "out", str(n)])
        for n in range(4)
    ]
    assert [task.wait() for task in tasks] == [0] * 4
    assert _names(tmp_path / "deep" / "out") == {"0", "1", "2", "3"}


# -- locks -----------------------------------------------------------------------------------------
HOLD = """
import sys
import tempfile
from sacbnet.files import locked
with locked(sys.argv[1], "taken"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_keeps_other_processes_out_until_it_ends_or_is_killed(tmp_path):
    lock = tmp_path / ".lock"
    for end in ("close", "kill"):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="wait for it"), locked(lock, "wait for it"):
            raise AssertionError("the lock was taken twice")
        holder.stdin.close() if end == "close" else holder.kill()
        holder.wait()
        with locked(lock, "wait for it"):
            pass
        holder.stdout.close()


def test_a_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / ".lock", "taken"):
        raise KeyError
    with locked(tmp_path / ".lock", "taken"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_file_system_without_locks_still_works(tmp_path, monkeypatch, number):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    done = []
    with locked(tmp_path / ".lock", "taken"):
        done.append(1)
    assert done


def test_an_error_of_the_section_is_not_taken_for_one_of_the_lock(tmp_path):
    with pytest.raises(OSError, match="mine"), locked(tmp_path / ".lock", "taken"):
        raise OSError("mine")
