"""Names, terminals and pipes that are not as usual: a sentence, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LONG = "n" * 300
FULL = "/dev/full"
needs_full = pytest.mark.skipif(not os.path.exists(FULL), reason="no device that is always full")


@pytest.mark.parametrize(
    ("code", "command"),
    [
        (3, "info {long}.nii"),
        (3, "info {long}.csv"),
        (3, "info {long}.mat"),
        (3, "apply {long} --image {image} --onto fixed --out {out}/x.nii"),
        (3, "apply {result} --points {long}.csv --onto fixed --out {out}/x.csv"),
        (3, "apply {result} --image {long}.nii --onto fixed --out {out}/x.nii"),
        (5, "apply {result} --image {image} --onto fixed --out {out}/{long}.nii"),
        (3, "evaluate --data {long} --out {out}"),
        (3, "evaluate --data {out} --out {out} --recipe {long}"),
        (3, "train hippocampus --data {long} --out {out}"),
        (3, "train {long} --out {out}"),
        (3, "data check {long}"),
        (3, "data pack {long} --out {out}/p.pack"),
        (4, "weights show {long}"),
        (4, "weights path {long}"),
        (4, "register --fixed {image} --moving {image} --out {out} --weights {long}"),
        (5, "register --fixed {image} --moving {image} --out {out}/{long} --weights none"),
        (3, "cohort {long} --out {out}"),
        (3, "benchmark {long} --data {out} --out {out}"),
        (3, "benchmark hippocampus --data {long} --out {out}"),
        (4, "convert-checkpoint {long} {out}/x.safetensors"),
        (5, "demo --out {out}/{long}"),
    ],
)
def test_a_name_of_300_letters(sacbnet, files, commands, tmp_path, code, command):
    places = {"image": files["aligned"], "result": commands[0].out, "out": tmp_path, "long": LONG}
    done = sacbnet(*(part.format_map(places) for part in command.split()))
    assert done.code == code, done.err
    assert len(done.sentence()) <= 300


def run(*arguments, **named):
    return subprocess.run(
        [sys.executable, "-m", "sacbnet", *arguments],
        env=os.environ | named.pop("env", {}),
        stderr=subprocess.PIPE,
        check=False,
        **named,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_name_that_is_not_utf_8(files, tmp_path):
    images = b"--fixed", os.fsencode(files["fixed"]), b"--moving", os.fsencode(files["aligned"])
    more = b"--weights=none", b"--affine=none", b"--refine=1", b"--out"
    odd = os.fsencode(tmp_path) + b"/odd\xff"
    for command, code in (
        ((b"info", odd + b".nii"), 3),
        ((b"info", odd + b".mha"), 3),
        ((b"register", *images, *more, odd), 5),
    ):
        done = run(*command)
        assert done.returncode == code and done.stderr.count(b"\n") == 1, done.stderr
        assert b"odd\\udcff" in done.stderr
    for suffix in (b".mha", b".nrrd"):
        with open(odd + suffix, "wb") as file:
            file.write(b"ObjectType = Image\n")
        done = run(b"info", odd + suffix)
        assert done.returncode == 3 and b"not UTF-8" in done.stderr, done.stderr


def test_a_terminal_that_knows_ascii_only(files):
    done = run("info", files["fixed"], env={"PYTHONIOENCODING": "ascii"}, stdout=subprocess.PIPE)
    assert done.returncode == 0 and done.stderr == b"" and done.stdout.isascii()


@needs_full
def test_a_full_standard_output(files, tmp_path):
    with open(FULL, "w") as full:
        done = run("info", files["fixed"], stdout=full)
        assert done.returncode == 5, done.stderr
        assert done.stderr.count(b"\n") == 1 and b"No space left on device" in done.stderr
        images = "--fixed", files["fixed"], "--moving", files["aligned"], "--affine=none"
        more = "--weights=none", "--refine=1", "-q", "--out", tmp_path / "out"
        assert run("register", *images, *more, stdout=full).returncode == 0  # it prints nothing
    assert (tmp_path / "out" / "run.json").is_file()


def test_closed_streams(files, tmp_path):
    """The files of the result must not get the numbers of the streams."""
    script = '"$@" >&- 2>&- <&-'
    images = "--fixed", files["fixed"], "--moving", files["aligned"], "--affine=none"
    more = "--weights=none", "--refine=1", "--out", tmp_path / "out"
    command = (sys.executable, "-m", "sacbnet", "register", *images, *more)
    assert subprocess.run(["sh", "-c", script, "sh", *command], check=False).returncode == 0
    moved = (tmp_path / "out" / "moved.nii.gz").read_bytes()
    assert moved[:2] == b"\x1f\x8b" and (tmp_path / "out" / "run.json").read_bytes()[:1] == b"{"


def test_a_reader_that_leaves():
    read, write = os.pipe()
    os.close(read)
    done = run("weights", "list", stdout=write)
    os.close(write)
    assert done.returncode == 0 and done.stderr == b""
