import subprocess
import sys

import pytest
import torch

from sacbnet.kernels.cpu import memory
from sacbnet.kernels.cpu.memory import empty


def run(code, **environment):
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


PROBE = """
import torch
from sacbnet.ops.conv import conv3d
from sacbnet.kernels.cpu import native
y = conv3d(torch.ones(1, 8, 4, 4, 4), torch.ones(8, 8, 3, 3, 3), torch.zeros(8))
print(native.library() is not None, float(y.sum()))
"""


def test_they_can_be_switched_off():
    result = run(
        PROBE.replace("native.library() is not None", "native.switched_off()"),
        SACBNET_KERNELS="plain",
    )
    assert result.stdout.split()[0] == "True"


def test_memory_is_used_again():
    memory.release_memory()
    first = empty((1, 8, 40, 40, 40))
    address = first.data_ptr()
    assert first.is_contiguous(memory_format=torch.channels_last_3d)
    view = first[:, :4]
    del first
    other = empty((1, 8, 40, 40, 40))
    assert other.data_ptr() != address  # a view still uses it
    del view
    assert empty((1, 8, 40, 40, 40)).data_ptr() == address


def test_blocks_are_split_and_joined():
    memory.release_memory()
    start = empty((1, 8, 64, 64, 64)).data_ptr()  # and at once idle again
    halves = [empty((1, 4, 64, 64, 64)) for _ in range(2)]
    assert sorted(h.data_ptr() - start for h in halves) == [0, halves[0].numel() * 4]
    halves[0].fill_(1), halves[1].fill_(2)
    assert float(halves[0].sum()) == halves[0].numel()
    halves.reverse()
    del halves[0], halves[0]
    assert empty((1, 8, 64, 64, 64)).data_ptr() == start


def test_idle_memory_is_bounded_and_returned(monkeypatch):
    memory.release_memory()
    monkeypatch.setattr(memory, "KEPT", 3 << 20)
    tensors = [empty((1, 8, 32, 32, 32)) for _ in range(5)]  # 1 MiB each
    tensors.clear()
    assert sum(b.stop - b.start for b in memory._STORE.idle) <= 3 << 20
    memory.release_memory()
    assert memory._STORE.idle == []


def test_memory_that_the_system_does_not_have():
    with pytest.raises(MemoryError, match=r"no 1073741824 MiB of memory for the result of a kern"):
        empty((1, 1, 1 << 20, 1 << 20, 1 << 8))
    assert empty((1, 8, 40, 40, 40)).numel() == 512_000  # and the next one is served


def test_dtypes_and_forms():
    for dtype in (torch.float32, torch.bfloat16):
        planar = empty((2, 3, 80, 40, 40), dtype, planar=True)
        assert planar.is_contiguous() and planar.dtype == dtype
        assert empty((2, 3, 80, 40, 40), dtype).is_contiguous(memory_format=torch.channels_last_3d)


def test_a_forked_process_has_memory_of_its_own():
    import os

    memory.release_memory()
    mine = empty((1, 8, 40, 40, 40))
    mine[0, 0, 0, 0, 0] = 1
    child = os.fork()
    if child == 0:
        mine[0, 0, 0, 0, 0] = 2  # one number: torch's threads do not survive a fork
        os._exit(0)
    os.waitpid(child, 0)
    assert mine[0, 0, 0, 0, 0] == 1
