"""Files of torch.save: tensors are read, and nothing else is carried out or takes memory."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from sacbnet.errors import InputError
from sacbnet.io.torch_files import load_torch

STATE = OrderedDict(w=torch.arange(6.0).reshape(2, 3), b=torch.zeros(2, dtype=torch.float16))


class Evil:
    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
def test_states_are_read(tmp_path, zipped):
    content = {"state_dict": STATE, "n": 3, "list": [1.5, (2, "a")]}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = load_torch(tmp_path / "a.pth")
    assert found["n"] == 3 and found["list"] == [1.5, (2, "a")]
    assert all(torch.equal(found["state_dict"][k], STATE[k]) for k in STATE)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [(os.system, ("touch {}",)), (bytearray, (1 << 40,)), (torch.FloatTensor, (1 << 40,))],
)
def test_nothing_else_is_carried_out(tmp_path, zipped, function, arguments):
    arguments = [a.format(tmp_path / "trace") if isinstance(a, str) else a for a in arguments]
    content = {"w": STATE["w"], "evil": Evil(function, *arguments)}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"it names .*only tensors are read"):
        load_torch(tmp_path / "a.pth")
    assert not (tmp_path / "trace").exists()


def _with_pickle(path, content, compression=zipfile.ZIP_STORED):
    torch.save({"w": STATE["w"]}, path)
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, data in members.items():
            new.writestr(name, content if name.endswith("data.pkl") else data)
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x02}" + b")" + b"\x85" * 2_000_000 + b"K\x01s.", "more than 50000 tuples"),
        (b"\x80\x02nonsense", "."),
        (b"\x80\x02X\x05\0\0\0\xff\xff\xff\xff\xff.", "."),
        (b"\x80\x020.", "."),
        (b"", "."),
    ],
    ids=["deep", "nonsense", "no text", "empty stack", "empty"],
)
def test_damaged_pickles(tmp_path, content, words):
    with pytest.raises(InputError, match=words):
        load_torch(_with_pickle(tmp_path / "a.pth", content))
    (tmp_path / "b.pth").write_bytes(content)
    with pytest.raises(InputError, match=words):
        load_torch(tmp_path / "b.pth")


def test_a_bomb(tmp_path):
    content = pickle.dumps({"w": bytes(20_000_000)}, 2)
    path = _with_pickle(tmp_path / "a.pth", content, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 200_000
    with pytest.raises(InputError, match="more memory than its size"):
        load_torch(path)


def test_scalars_of_numpy_only_if_they_are_admitted(tmp_path):
    torch.save({"best": np.float64(0.5)}, tmp_path / "a.pth")
    with pytest.raises(InputError):
        load_torch(tmp_path / "a.pth")


def test_no_file(tmp_path):
    with pytest.raises(InputError):
        load_torch(tmp_path / "a.pth")
