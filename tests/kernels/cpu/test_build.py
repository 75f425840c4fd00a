"""No library is loaded that others may have written, and a damaged one is built again."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sacbnet.errors import SacbnetError
from sacbnet.kernels.cpu import build, native
from sacbnet.kernels.cpu.library import Library

pytestmark = pytest.mark.skipif(
    shutil.which("c++") is None or not hasattr(os, "geteuid"), reason="no C++ compiler, or no users"
)
SOURCE = 'extern "C" int answer() { return 42; }\n'
needs_root = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root gives files away"
)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that builds a small library in a cache of its own; it returns the file."""
    monkeypatch.setenv("SACBNET_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "answer.cpp"
    source.write_text(SOURCE)
    compiler = shutil.which("c++")
    return lambda: build.built(compiler, ("-fPIC",), [source], "0123")


def test_a_library_is_built_once_and_is_the_users_alone(made, tmp_path):
    old = os.umask(0o002)
    try:
        file = made()
    finally:
        os.umask(old)
    assert file.parent == tmp_path / "cache" / "sacbnet"
    assert file.stat().st_mode & 0o777 == 0o700
    assert file.parent.stat().st_mode & 0o777 == 0o700
    before = file.stat().st_mtime_ns
    assert made() == file and file.stat().st_mtime_ns == before
    assert list(file.parent.iterdir()) == [file]  # no leftovers


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
        lambda content: content.replace(b"\x2a\x00\x00\x00", b"\x2b\x00\x00\x00", 1),
        lambda content: b"\x7fELF of another machine",
    ],
)
def test_a_damaged_library_is_built_again(made, damage):
    file = made()
    whole = file.read_bytes()
    assert damage(whole) != whole
    file.write_bytes(damage(whole))
    again = made()
    assert again.read_bytes() == whole
    assert list(again.parent.glob("kernels-*")) == [again]


def test_the_library_is_on_the_disk_before_it_has_its_name(made, monkeypatch):
    done = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(Path(b).suffix), replace(a, b))[1])
    monkeypatch.setattr(os, "fsync", lambda n: (done.append("fsync"), fsync(n))[1])
    made()
    assert done[:2] == ["fsync", ".so"]


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775, 0o702])
def test_a_folder_that_others_may_write_is_not_used(made, caplog, mode):
    file = made()
    file.parent.chmod(mode)
    with caplog.at_level(logging.WARNING):
        other = made()
    assert other.parent != file.parent and other.exists()
    assert [r.message.count("other users may write") for r in caplog.records] == [1]


def test_nor_one_in_a_folder_that_others_may_write(made, tmp_path):
    file = made()
    (tmp_path / "cache").chmod(0o777)
    assert made().parent != file.parent
    (tmp_path / "cache").chmod(0o1777)  # only the owner can replace what is in it
    assert made() == file


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_file_that_others_may_write_is_built_again(made, mode):
    file = made()
    file.chmod(mode)
    number = file.stat().st_ino
    again = made()
    assert again == file and again.stat().st_ino != number
    assert again.stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_file_or_folder_of_another_user_is_not_used(made, tmp_path):
    file = made()
    os.chown(file, 65534, 65534)
    again = made()
    assert again == file and again.stat().st_uid == 0
    os.chown(file.parent, 65534, 65534)
    assert made().parent != file.parent
    os.chown(file.parent, 0, 0)
    os.chown(tmp_path / "cache", 65534, 65534)
    assert made().parent != file.parent


def test_a_link_in_the_place_of_a_library_is_not_followed(made, tmp_path):
    file = made()
    shutil.copy(file, tmp_path / file.name)
    file.unlink()
    file.symlink_to(tmp_path / file.name)
    again = made()
    assert again == file and not again.is_symlink()


@needs_root
def test_a_planted_library_does_not_run(tmp_path):
    """Under the name that earlier versions gave to the file, and under today's."""
    folder = tmp_path / "cache" / "sacbnet"
    folder.mkdir(parents=True)
    compiler = native._compiler()
    sources = [*sorted(native.SOURCES.glob("*.cpp")), *native.SOURCES.glob("*.h")]
    key = native._fingerprint(compiler, sources)
    evil = tmp_path / "evil.cpp"
    evil.write_text(
        "#include <cstdio>\n__attribute__((constructor)) static void run()"
        f' {{ if (FILE* f = fopen("{tmp_path}/PLANTED", "w")) fclose(f); }}\n'
    )
    library = tmp_path / "evil.so"
    subprocess.run([compiler, "-shared", "-fPIC", str(evil), "-o", str(library)], check=True)
    content = library.read_bytes()
    for name in (f"kernels-{key}.so", build._name(key, content)):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o777)
        os.chown(folder / name, 65534, 65534)
    code = "from sacbnet.kernels.cpu import native; print(native.library() is not None)"
    for mode in (0o1777, 0o755):
        folder.chmod(mode)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"SACBNET_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "True\n"
        assert done.stderr.count("is not used for the compiled kernels") == (mode == 0o1777)
        assert not (tmp_path / "PLANTED").exists()


@pytest.mark.parametrize("kind", ["of another machine", "empty", "without kernels"])
def test_a_library_of_the_right_name_that_is_of_no_use_is_built_again(
    tmp_path, monkeypatch, caplog, kind
):
    """Its bytes are those that its name says, so that only the loader can find out."""
    monkeypatch.setenv("SACBNET_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "SOURCES", tmp_path)
    monkeypatch.setattr(native, "FLAGS", ("-fPIC", f"-I{Path(build.__file__).parent}"))
    source = '#include "export.h"\nnamespace sacbnet { KERNEL long answer(long n) { return n; }\n'
    (tmp_path / "answer.cpp").write_text(source + "EXPORT(answer) }\n")
    monkeypatch.setattr(native, "Library", functools.partial(Library, table={"answer": "long n"}))
    fresh = native.library.__wrapped__()
    assert fresh.call("answer", 42) == 42
    (file,) = (tmp_path / "sacbnet").iterdir()
    content = {"of another machine": file.read_bytes(), "empty": b""}.get(kind)
    if kind == "of another machine":
        content = content[:18] + b"\xf3\x00" + content[20:]  # e_machine: RISC-V
    if content is None:
        (tmp_path / "none.cc").write_text(SOURCE)
        command = ["c++", "-shared", "-fPIC", str(tmp_path / "none.cc"), "-o", str(tmp_path / "n")]
        subprocess.run(command, check=True)
        content = (tmp_path / "n").read_bytes()
    key = file.name.split("-")[1]
    file.unlink()
    bad = file.with_name(build._name(key, content))
    bad.write_bytes(content)
    bad.chmod(0o700)
    with caplog.at_level(logging.WARNING):
        assert native.library.__wrapped__().call("answer", 7) == 7
    assert [r.message.count("they are compiled again") for r in caplog.records] == [1]
    assert list((tmp_path / "sacbnet").iterdir()) == [file]


def test_a_symbol_that_is_missing_is_a_sentence(made):
    with pytest.raises(SacbnetError, match=r"have no kernel 'answer'; remove the file") as error:
        Library(made(), {"answer": "long n"})
    assert len(str(error.value)) <= 300 and "\n" not in str(error.value)


def test_what_a_killed_build_left_is_swept(made):
    file = made()
    left = file.parent / ".sacbnet-abcd1234"
    left.mkdir()
    (left / ".alive").touch()
    (left / "conv.o").write_bytes(b"half")
    file.unlink()
    staging_module = sys.modules["sacbnet.files.staging"]
    staging_module._swept.clear()  # as in a new process
    assert made() == file and list(file.parent.iterdir()) == [file]
