"""Memory that is left, by the limits of the process and of its control group."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sacbnet import environment

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits are read on Linux")


def test_no_more_is_left_than_the_machine_has_free():
    left = environment.memory_left()
    assert 0 < left <= psutil.virtual_memory().total + psutil.swap_memory().total


@linux
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_process_counts(limit):
    code = (
        "import psutil; from sacbnet.environment import memory_left; p = psutil.Process();"
        f"p.rlimit(psutil.{limit}, (1 << 30, 1 << 30)); print(memory_left())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.3 * 2**30 < float(done.stdout) < 2**30


@linux
@pytest.mark.parametrize(
    "line, top, names",
    [
        ("0::/batch/job", "", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:cpu,memory:/batch/job",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_a_limit_of_the_control_group_and_of_those_above_counts(
    tmp_path, monkeypatch, line, top, names
):
    limit, usage, cached = names
    for group, most, used in (("batch", "5000", 1000), ("batch/job", "max", 10)):
        place = tmp_path / top / group
        place.mkdir(parents=True)
        (place / limit).write_text(f"{most}\n")
        (place / usage).write_text(f"{used}\n")
        (place / "memory.stat").write_text(f"anon 7\n{cached} 400\n")
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda p, **how: (
            f"1:cpuset:/\n{line}\n" if str(p) == "/proc/self/cgroup" else read(p, **how)
        ),
    )
    assert environment._left_of_groups(tmp_path) == [5000 - (1000 - 400)]
