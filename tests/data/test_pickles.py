"""Pickles: real ones of every protocol are read, and nothing else in them is carried out."""

from __future__ import annotations

import os
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sacbnet.data.pickles import read_pickle
from sacbnet.errors import InputError

IMAGE = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 2035, (4, 5, 6)).astype(np.int16)


def write(path: Path, thing: object, protocol: int = 4) -> Path:
    path.write_bytes(thing if isinstance(thing, bytes) else pickle.dumps(thing, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("of", [tuple, list])
def test_a_pair_of_arrays_in_every_protocol(tmp_path, protocol, of) -> None:
    image, labels = read_pickle(write(tmp_path / "a.pkl", of((IMAGE, LABELS)), protocol))
    for found, expected in ((image, IMAGE), (labels, LABELS)):
        assert found.dtype == expected.dtype and np.array_equal(found, expected)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(IMAGE),
        IMAGE.astype(">f8")[::2],
        IMAGE.astype(np.float16).transpose(2, 0, 1),
        LABELS.astype(np.uint8),
        LABELS.astype(">i8"),
        LABELS > 3,
    ],
    ids=["Fortran", "big-endian", "transposed", "bytes", "big integers", "truth"],
)
def test_types_and_orders_of_storage(tmp_path, protocol, array) -> None:
    found, labels = read_pickle(write(tmp_path / "a.pkl", array, protocol))
    assert (
        labels is None
        and found.dtype == array.dtype.newbyteorder("=")
        and np.array_equal(found, array)
    )
    found[0] = 0  # it is the caller's own


def test_names_of_numpy_1(tmp_path) -> None:
    raw = pickle.dumps((IMAGE, LABELS), 2)
    old = raw.replace(b"numpy._core", b"numpy.core")
    assert old != raw or np.__version__ < "2"
    assert np.array_equal(read_pickle(write(tmp_path / "a.pkl", old))[0], IMAGE)


class Evil:
    """What a pickle may call, and where it would be seen."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "argument", "named"),
    [
        (os.system, "touch {}", "posix.system"),
        (eval, "open({!r}, 'w')", "eval"),
        (subprocess.getoutput, "touch {}", "(subprocess|commands).getoutput"),
        (np.memmap, "{}", "numpy.*memmap"),
    ],
)
def test_nothing_is_carried_out(tmp_path, protocol, function, argument, named) -> None:
    trace = str(tmp_path / "trace")
    evil = Evil(function, argument.format(trace))
    for thing in (evil, (IMAGE, evil), (IMAGE, {"a": [evil]})):
        with pytest.raises(InputError, match=f"a.pkl asks for .*{named}; only numpy arrays"):
            read_pickle(write(tmp_path / "a.pkl", thing, protocol))
    assert not os.path.exists(trace)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.array([1, "x", None], dtype=object),
        np.array([Evil(os.system, "true")], dtype=object),
        np.zeros(3, dtype=[("a", "f4"), ("b", object)]),
        np.array(["text"]),
        np.zeros(3, dtype="V8"),
        np.zeros(3, dtype="M8[s]"),
        np.zeros(3, dtype=complex),
    ],
    ids=["objects", "evil objects", "structures", "text", "void", "times", "complex"],
)
def test_arrays_of_other_things_than_numbers(tmp_path, protocol, array) -> None:
    with pytest.raises(InputError, match=r"a\.pkl (holds an array of|asks for)"):
        read_pickle(write(tmp_path / "a.pkl", (IMAGE, array), protocol))


def test_a_dtype_forged_in_its_state(tmp_path) -> None:
    """The state of a dtype can turn numbers into pointers; numpy's dtype is never given one."""
    raw = bytearray(pickle.dumps(np.zeros((1, 1, 1), "<i8"), 2))
    opcodes = [(o.name, argument, at) for o, argument, at in pickletools.genops(bytes(raw))]
    at = next(at for name, argument, at in opcodes if name == "BINUNICODE" and argument == "i8")
    assert raw[at + 5 : at + 7] == b"i8"
    raw[at + 5 : at + 7] = b"O8"
    with pytest.raises(InputError, match="array of type 'O8'"):
        read_pickle(write(tmp_path / "a.pkl", bytes(raw)))


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        ((IMAGE, LABELS, IMAGE), r"holds 3 things \(Array, Array, Array\); a pair of arrays"),
        (("a", IMAGE), r"holds 2 things \(str, Array\)"),
        ((), "holds 0 things"),
        ({"image": [1]}, "holds a dict"),
        (np.ndarray, "holds a Global"),
        (
            (IMAGE, LABELS[:2]),
            r"holds an image of shape \(4, 5, 6\) and labels of shape \(2, 5, 6\)",
        ),
        (b"", "is no pickle of numpy arrays, or damaged"),
        (b"\x80\x04nonsense", "is no pickle"),
        (pickle.dumps(IMAGE)[:-20], "is no pickle"),
        (
            pickle.dumps(IMAGE, 2).replace(b"K\x04K\x05K\x06", b"K\x04K\x05K\x07"),
            "holds 480 bytes for an array of shape",
        ),
    ],
)
def test_other_contents(tmp_path, thing, sentence) -> None:
    with pytest.raises(InputError, match=f"a.pkl {sentence}"):
        read_pickle(write(tmp_path / "a.pkl", thing))


def test_a_missing_file(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_pickle(tmp_path / "a.pkl")


def test_attributes_that_a_pickle_sets_do_not_last(tmp_path) -> None:
    """BUILD on an admitted name must not change the function behind that name for the next file."""
    script = b"cnumpy\nndarray\n(dVrole\nVencode\nsb."  # the name, a dict {role: encode}, BUILD
    with pytest.raises(InputError):
        read_pickle(write(tmp_path / "a.pkl", script))
    assert np.array_equal(read_pickle(write(tmp_path / "b.pkl", (IMAGE, LABELS)))[0], IMAGE)
    assert sys.modules["numpy"].ndarray is type(IMAGE)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from sacbnet.data.pickles import read_pickle
from sacbnet.errors import InputError
try:
    read_pickle(sys.argv[1])
except InputError as error:
    print(len(str(error)) <= 300)
"""
DTYPE = b"cnumpy\ndtype\n\x8c\x02f4\x85R"
FROM = b"cnumpy._core.numeric\n_frombuffer\n"


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04}" + b")" + b"\x85" * 2_000_000 + b"K\x01s.",  # a key too deep to be hashed
        b"\x80\x04Nr" + (2**28).to_bytes(4, "little") + b".",  # a memo of 4 GB
        b"\x80\x04B\xff\xff\xff\xff.",  # 4 GB of bytes that are not there
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b".",
        b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x04" + FROM + b"(\x8a\x05\x00\x00\x00\x00\x01" + DTYPE + b"K\x01\x85\x8c\x01CtR.",
        b"\x80\x04C" + b"\xff" + bytes(255) + b"0" + b"N" * 2000 + b".",
        b"\x80\x04]" + (FROM + b"(C\x04abcd" + DTYPE + b"K\x01\x85\x8c\x01CtRa") * 100 + b".",
    ],
    ids=["deep", "memo", "bytes", "bytes8", "lists", "zeros", "long", "many"],
)
def test_bombs_end_before_they_are_loaded(tmp_path, content):
    pytest.importorskip("resource")
    file = write(tmp_path / "bomb.pkl", content)
    command = [sys.executable, "-c", LIMITED, file]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "True\n", done.stderr[-500:]
