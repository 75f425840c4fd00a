"""Several processes with results for one place: never mixed, and none is lost without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from sacbnet.errors import OutputError
from sacbnet.files import Claim, atomic_file, placing, staged_folder, sweep

NAMES = [*(f"file-{n}" for n in range(6)), "run.json"]


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def at_once(*calls) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_results_of_several_threads_are_never_mixed(tmp_path, monkeypatch):
    """They pause between their renames, so that the others could come between."""

    def write(content: str) -> None:
        with staged_folder(tmp_path) as stage:
            for name in NAMES:
                (stage / name).write_text(content)

    replace = os.replace
    monkeypatch.setattr("os.replace", lambda *names: (time.sleep(0.002), replace(*names)))
    for _ in range(3):
        at_once(*(lambda c=content: write(c) for content in "abcd"))
        assert len({(tmp_path / name).read_text() for name in NAMES}) == 1
    assert names(tmp_path) == set(NAMES)  # no lock file is left


def test_what_the_folder_holds_at_the_end_is_checked(tmp_path):
    seen = []

    def check() -> None:
        seen.append(names(tmp_path) - {".sacbnet-lock"})
        raise OutputError("it stays")

    with pytest.raises(OutputError, match="it stays"), staged_folder(tmp_path, (), check) as stage:
        (stage / "a").write_text("late")
        (tmp_path / "a").write_text("early")
    assert "a" in seen[0] and names(tmp_path) == {"a"}
    assert (tmp_path / "a").read_text() == "early"


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_that_another_process_wrote_meanwhile_stays(tmp_path, before):
    path = tmp_path / "a"
    if before is not None:
        path.write_text(before)
    claim = Claim.of(path)
    path.unlink(missing_ok=True)
    path.write_text("theirs")
    with (
        pytest.raises(OutputError, match="another process wrote"),
        atomic_file(path, claim) as part,
    ):
        part.write_text("ours")
    assert path.read_text() == "theirs" and names(tmp_path) == {"a"}
    with atomic_file(path, claim) as part:
        part.write_text("theirs")  # the same bytes: nobody loses anything
    with atomic_file(path) as part:
        part.write_text("without a claim")
    assert path.read_text() == "without a claim"


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_that_nobody_else_wrote_is_replaced(tmp_path, before):
    path = tmp_path / "a"
    if before is not None:
        path.write_text(before)
    with atomic_file(path, Claim.of(path)) as part:
        part.write_text("ours")
    assert path.read_text() == "ours" and names(tmp_path) == {"a"}
    claim = Claim.of(path)
    path.unlink()  # removed meanwhile: nothing is lost
    claim.check()


def test_one_of_several_threads_gets_a_new_file_and_the_others_are_told(tmp_path):
    path, told = tmp_path / "a", []
    claims = [Claim.of(path) for _ in range(4)]

    def write(n: int) -> None:
        try:
            with atomic_file(path, claims[n]) as part:
                part.write_text(str(n))
        except OutputError:
            told.append(str(n))

    at_once(*(lambda n=n: write(n) for n in range(4)))
    assert sorted([*told, path.read_text()]) == ["0", "1", "2", "3"]


def test_a_process_that_holds_the_lock_too_long_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("sacbnet.files.claim._PATIENCE", 0.1)
    with (
        FileLock(tmp_path / ".sacbnet-lock"),
        pytest.raises(OutputError, match="has been writing its results"),
        placing(tmp_path),
    ):
        pytest.fail("two at once")


def test_a_file_system_without_locks_still_works(tmp_path, monkeypatch):
    def without(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("sacbnet.files.claim.FileLock.acquire", without)
    with placing(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_the_lock_of_a_killed_process_is_free_and_swept(tmp_path):
    body = (
        "import os, signal, sys; from pathlib import Path; from sacbnet.files import placing\n"
        "with placing(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", body, tmp_path], check=False)
    assert names(tmp_path) == {".sacbnet-lock"}
    with placing(tmp_path):
        sweep(tmp_path)  # it is held: it stays
        assert names(tmp_path) == {".sacbnet-lock"}
    assert not names(tmp_path)
    (tmp_path / ".sacbnet-lock").touch()
    sweep(tmp_path)
    assert not names(tmp_path)
