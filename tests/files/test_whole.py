"""All or nothing, also when the disk is full."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from sacbnet.errors import InputError, OutputError
from sacbnet.files import atomic_file, staged_folder


def _names(folder) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def test_everything_appears_together_and_run_json_last(tmp_path, monkeypatch):
    out, order = tmp_path / "deep" / "out", []
    replace = os.replace
    monkeypatch.setattr(
        "os.replace", lambda a, b: (order.append(os.path.basename(b)), replace(a, b))
    )
    with staged_folder(out) as folder:
        (folder / "run.json").write_text("{}")
        (folder / "zz.nii").write_text("z")
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text("a")
        assert not [n for n in _names(out) if not n.startswith(".sacbnet-")]
    assert _names(out) == {"run.json", "zz.nii", "sub", "sub/a.txt"}
    assert order[-1] == "run.json"


@pytest.mark.parametrize(
    "error", [InputError("no"), KeyboardInterrupt(), ZeroDivisionError(), OSError(28, "full")]
)
@pytest.mark.parametrize("existed", [True, False])
def test_nothing_appears_on_any_error(tmp_path, error, existed):
    out = tmp_path / "deep" / "out"
    if existed:
        out.mkdir(parents=True)
        (out / "a.txt").write_text("old")
    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), staged_folder(out, stale=["a.txt"]) as folder:
        (folder / "a.txt").write_text("new")
        raise error
    if existed:
        assert _names(out) == {"a.txt"} and (out / "a.txt").read_text() == "old"
    else:
        assert not _names(tmp_path)


def test_stale_results_go_and_foreign_files_stay(tmp_path):
    for name in ("moved.nii", "old.nii", "run.json", "mine.txt"):
        (tmp_path / name).write_text("old")
    with staged_folder(tmp_path, stale=["moved.nii", "old.nii", "run.json", "never.nii"]) as folder:
        (folder / "moved.nii").write_text("new")
    assert _names(tmp_path) == {"moved.nii", "mine.txt"}
    assert (tmp_path / "moved.nii").read_text() == "new"


@pytest.mark.parametrize("fail_at", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_in_the_middle_of_moving_is_undone(tmp_path, monkeypatch, fail_at, error):
    for name in ("a", "run.json", "old"):
        (tmp_path / name).write_text("old")
    replace, calls = os.replace, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == fail_at:
            raise error
        replace(source, target)

    monkeypatch.setattr("os.replace", failing)
    with (
        pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OutputError),
        staged_folder(tmp_path, stale=["old"]) as folder,
    ):
        for name in ("a", "b", "run.json"):
            (folder / name).write_text("new")
    assert len(calls) >= fail_at
    assert _names(tmp_path) == {"a", "run.json", "old"}
    assert {(tmp_path / n).read_text() for n in ("a", "run.json", "old")} == {"old"}


def test_an_output_that_is_a_file_or_lies_in_one(tmp_path):
    (tmp_path / "f").write_text("x")
    for out in (tmp_path / "f", tmp_path / "f" / "out"):
        words = r"could not be written \(.*\): (it is a file|a part of this path is a file)"
        with pytest.raises(OutputError, match=words), staged_folder(out):
            raise AssertionError("never entered")
    with (
        pytest.raises(OutputError, match="it is a folder; choose another name"),
        staged_folder(tmp_path) as folder,
    ):
        (tmp_path / "a.nii").mkdir()
        (folder / "a.nii").write_text("x")
    with pytest.raises(OutputError), atomic_file(tmp_path / "a.nii") as part:
        part.write_text("x")
    assert _names(tmp_path) == {"f", "a.nii"}


def test_errors_of_the_program_are_not_called_output_errors(tmp_path):
    with pytest.raises(RuntimeError, match="CUDA"), staged_folder(tmp_path / "out"):
        raise RuntimeError("CUDA out of memory")


def test_atomic_file_keeps_the_old_file_and_the_extension(tmp_path):
    (tmp_path / "a.nii.gz").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "a.nii.gz") as part:
        assert part.name.endswith(".nii.gz")
        part.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "a.nii.gz").read_text() == "old" and _names(tmp_path) == {"a.nii.gz"}
    with atomic_file(tmp_path / "a.nii.gz") as part:
        part.write_text("new")
    assert (tmp_path / "a.nii.gz").read_text() == "new"


@pytest.fixture
def order(monkeypatch) -> list[tuple[str, str]]:
    """What is put on the disk and what is renamed, by name, in order."""
    told, replace, fsync = [], os.replace, os.fsync

    def synced(descriptor):
        told.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def renamed(source, target):
        told.append(("rename", os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr("os.replace", renamed)
    return told


needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="descriptors have no names here"
)


@needs_proc
def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, order):
    with atomic_file(tmp_path / "a.nii") as part:
        part.write_text("new")
    assert order == [("sync", "a.nii"), ("rename", "a.nii"), ("sync", tmp_path.name)]


@needs_proc
def test_so_are_those_of_a_folder(tmp_path, order):
    with staged_folder(tmp_path / "deep" / "out") as folder:
        (folder / "sub").mkdir()
        for name in ("run.json", "a.nii", "sub/b.txt"):
            (folder / name).write_text("new")
    last_sync = {name: n for n, (what, name) in enumerate(order) if what == "sync"}
    renames = {name: n for n, (what, name) in enumerate(order) if what == "rename"}
    assert set(renames) == {"run.json", "a.nii", "b.txt"}
    assert all(last_sync[name] < min(renames.values()) for name in renames)
    assert all(
        last_sync[name] > max(renames.values()) for name in ("out", "sub", "deep", tmp_path.name)
    )


def test_a_file_system_that_syncs_no_folders(tmp_path, monkeypatch):
    opened = os.open

    def refusing(path, *arguments, **named):
        if os.path.isdir(path):
            raise PermissionError(13, "as on Windows")
        return opened(path, *arguments, **named)

    monkeypatch.setattr("os.open", refusing)
    with staged_folder(tmp_path / "out") as folder, atomic_file(folder / "a") as part:
        part.write_text("new")
    assert (tmp_path / "out" / "a").read_text() == "new"


def test_what_does_not_reach_the_disk_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")

    def failing(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", failing)
    for context in (atomic_file(tmp_path / "a"), staged_folder(tmp_path)):
        with pytest.raises(OutputError, match="Input/output error"), context as part:
            (part if part.name == "a" else part / "a").write_text("new")
    assert _names(tmp_path) == {"a"} and (tmp_path / "a").read_text() == "old"


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from sacbnet.errors import OutputError
from sacbnet.files import staged_folder
from sacbnet.io.images import save_image
from sacbnet.io.points import Points, save_points
from sacbnet.io.transforms import save_affine, save_displacement
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

grid = Grid((20, 21, 22), np.diag([1.0, 2, 3, 1]))
noise = np.random.default_rng(0).normal(size=(20, 21, 22, 3)).astype(np.float32)
field, affine = DisplacementField(grid, noise), Affine.translation([1, 2, 3])
points = Points(noise.reshape(-1, 3)[:500])
anywhere, in_blocks = (0.0, 0.3, 0.9, 1), (0.0, 0.5)
IMAGES = (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha")
jobs = [
    *[(e, anywhere, lambda p: save_image(p, noise[..., 0], grid)) for e in IMAGES],
    *[
        (e, anywhere, lambda p: save_displacement(p, field))
        for e in (".nii", ".nii.gz", ".nrrd", ".mha")
    ],
    *[(e, in_blocks, lambda p: save_affine(p, affine)) for e in (".mat", ".txt", ".tfm")],
    *[(e, anywhere, lambda p: save_points(p, points)) for e in (".csv", ".mrk.json")],
]
folder, unlimited = Path(sys.argv[1]), resource.RLIM_INFINITY
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for extension, cuts, write in jobs:
    resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
    whole = folder / f"a{extension}"
    write(whole)
    size = whole.stat().st_size
    whole.unlink()
    for cut in cuts:
        limit = int(size * cut) if cut < 1 else size - cut
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited))
        try:
            with staged_folder(folder / "out") as staged:
                write(staged / f"a{extension}")
        except OutputError as error:
            assert "\\n" not in str(error), error
        else:
            sys.exit(f"{extension}: a disk that is full at {cut} went unnoticed")
        assert not list(folder.rglob("*")), "something was left behind"
print("all noticed")
"""


def test_a_full_disk_is_noticed(tmp_path):
    """By a limit on the size of files; affines by cuts that lose numbers.

    A disk cuts in whole blocks.
    """
    pytest.importorskip("resource")
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "all noticed" in done.stdout, done.stderr[-2000:]


def test_a_folder_that_another_process_removes_is_made_again(tmp_path, monkeypatch):
    out, left, mkdtemp = tmp_path / "deep" / "out", [3], tempfile.mkdtemp

    def removed(*arguments, **named):
        if left[0]:
            left[0] -= 1
            out.rmdir()
            out.parent.rmdir()
        return mkdtemp(*arguments, **named)

    monkeypatch.setattr("tempfile.mkdtemp", removed)
    with staged_folder(out) as folder:
        (folder / "a").write_text("new")
    assert (out / "a").read_text() == "new" and left == [0]
