"""The library of kernels is the best one for the processor, or the one that is asked for."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import subprocess
import sys

import pytest
import torch

from sacbnet.kernels.cpu import levels, native
from sacbnet.kernels.cpu.library import Library, LibraryError
from sacbnet.ops.conv import conv3d
from sacbnet.spatial.warp import warp

needs_kernels = pytest.mark.skipif(native.library() is None, reason="no compiled kernels")
HERE = [
    level
    for level in levels.LEVELS
    if (levels.FOLDER / f"kernels_{level}.so").is_file() and level in levels.runnable()
]


def answers(level: str, threads: int) -> list[torch.Tensor]:
    """What a convolution with its gradients, and a warp with its gradients, give at a level."""
    random = torch.Generator().manual_seed(3)
    x, y = (torch.randn(1, 8, 13, 14, 15, generator=random) for _ in range(2))
    weight, bias = torch.randn(8, 8, 3, 3, 3, generator=random) / 14, torch.ones(8)
    displacement = torch.randn(1, 3, 13, 14, 15, generator=random)
    leaves = [t.requires_grad_() for t in (x, weight, bias, displacement)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with pytest.MonkeyPatch.context() as patch:
            loaded = levels.load(level)
            patch.setattr(native, "_loaded", lambda: loaded)
            convolved, warped = conv3d(x, weight, bias), warp(x, displacement)
            ((convolved * y).sum() + (warped * y).sum()).backward()
    finally:
        torch.set_num_threads(before)
    return [convolved.detach(), warped.detach(), *(t.grad for t in leaves)]


@needs_kernels
@pytest.mark.parametrize("level", HERE)
def test_levels_agree_and_each_has_its_own_bits_with_any_number_of_threads(level):
    first, again, other = answers(level, 1), answers(level, 2), answers(HERE[-1], 1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for a, b in zip(first, other, strict=True):
        assert float((a - b).abs().max()) <= 2e-6 * float(b.abs().max())


@needs_kernels
def test_the_best_level_of_the_processor_is_taken():
    assert native.level() == (HERE[0] if levels.asked() == "auto" else levels.asked())
    assert set(levels.runnable()) <= set(levels.LEVELS)


@needs_kernels
@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="only Linux lists the processor")
def test_the_processor_is_known_as_the_system_knows_it():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        words = set(file.read().split())
    if "sse4_2" not in words:
        pytest.skip("not an x86-64 processor")
    expected = ["baseline"]
    expected += ["avx2"] if {"avx2", "fma", "bmi1", "bmi2"} <= words else []
    wide = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
    expected += ["avx512"] if wide <= words and "avx2" in expected else []
    assert levels.runnable() == expected[::-1]


PROBE = """
import torch
from sacbnet.kernels.cpu import native
from sacbnet.kernels.dispatch import kernels_for
print(kernels_for(torch.device("cpu")))
"""


def probe(value: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBE],
        env=os.environ | {"SACBNET_KERNELS": value},
        capture_output=True,
        text=True,
        timeout=300,
    )


@needs_kernels
def test_the_environment_forces_a_level():
    assert probe(HERE[-1]).stdout == f"compiled ({HERE[-1]})\n"
    absent = next(level for level in levels.LEVELS if level not in HERE)
    result = probe(absent)
    said = result.stderr.splitlines()[-1]
    assert result.returncode == 1 and f"SACBNET_KERNELS is {absent}, but these kernels" in said
    assert len(said) <= 400


def test_an_unknown_form_is_an_error(monkeypatch):
    monkeypatch.setenv("SACBNET_KERNELS", "fast")
    with pytest.raises(LibraryError, match=r"'fast'; it must be one of auto, plain, avx512"):
        native.switched_off()


@pytest.fixture
def copied(tmp_path):
    """A copy of the folder of libraries."""
    folder = tmp_path / "lib"
    shutil.copytree(levels.FOLDER, folder)
    return folder


def test_without_libraries_the_plain_forms_serve_and_a_sentence_says_so(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(levels, "load", functools.partial(levels.load, folder=tmp_path))
    monkeypatch.delenv("SACBNET_KERNELS", raising=False)
    with caplog.at_level(logging.WARNING):
        assert native._loaded.__wrapped__() == ("", None)
    (record,) = caplog.records
    assert "run `make kernels`" in record.message and "slower" in record.message
    assert len(record.message) <= 300


@needs_kernels
def test_another_level_serves_where_the_best_one_was_not_built(copied):
    best = copied / f"kernels_{HERE[0]}.so"
    best.rename(copied / "kernels_other.so")
    if len(HERE) > 1:
        assert levels.load("auto", copied)[0] == HERE[1]
    else:
        with pytest.raises(OSError, match="auto was asked for, this processor can run"):
            levels.load("auto", copied)
    with pytest.raises(OSError, match=f"{HERE[0]} was asked for"):
        levels.load(HERE[0], copied)


@needs_kernels
@pytest.mark.parametrize("damage", ["empty", "of another machine"])
def test_a_damaged_library_is_not_loaded(copied, damage):
    file = copied / f"kernels_{HERE[0]}.so"
    content = file.read_bytes()
    file.unlink()
    other = content[:18] + b"\xf3\x00" + content[20:]  # e_machine: RISC-V
    file.write_bytes(b"" if damage == "empty" else other)
    with pytest.raises(OSError, match=r"kernels_|too short|invalid"):
        levels.load(HERE[0], copied)


@needs_kernels
def test_a_library_of_older_sources_is_not_taken(monkeypatch):
    monkeypatch.setattr(levels, "sources_hash", lambda: "0" * 64)
    with pytest.raises(OSError, match=r"sources have changed .* run `make kernels`"):
        levels.load()


def test_a_change_of_any_source_changes_the_hash(tmp_path):
    assert levels.sources_hash(tmp_path) == ""
    hashes = set()
    for name, text in (("a.cpp", "1"), ("b.h", "2"), ("a.cpp", "3"), ("b.h", "1"), ("x.py", "1")):
        (tmp_path / name).write_text(text)
        hashes.add(levels.sources_hash(tmp_path))
    assert len(hashes) == 4


def test_a_symbol_that_is_missing_is_a_sentence():
    if not HERE:
        pytest.skip("no compiled kernels")
    file = levels.FOLDER / "processor.so"
    with pytest.raises(LibraryError, match=r"have no kernel 'answer'; install sacbnet ag") as error:
        Library(file, {"answer": "long n"})
    assert len(str(error.value)) <= 300 and "\n" not in str(error.value)
