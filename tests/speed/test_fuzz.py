"""The driver of damaged files runs, and finds what it should find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).parents[2] / "speed" / "fuzz.py"


def test_damaged_files_are_read_or_refused():
    pytest.importorskip("resource")
    command = [sys.executable, DRIVER, "--inputs", "150", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "'refused'" in done.stdout and "traceback" not in done.stdout
