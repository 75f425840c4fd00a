"""The driver of damaged files runs, and finds what it should find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).parents[2] / "speed" / "fuzz.py"


def test_damaged_files_are_read_or_refused(tmp_path):
    pytest.importorskip("resource")
    command = [sys.executable, DRIVER, "--inputs", "150", "--seed", "7", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    names, total = table[0], table[-1]
    of = dict(zip(names, total, strict=True))
    assert of["format"] == "all" and int(of["refused"]) > 20 and int(of["read"]) > 5
    assert {of[bad] for bad in ("long", "traceback", "crash", "hang")} == {"0"}
