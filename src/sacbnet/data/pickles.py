"""Read TransMorph's pickles (the preprocessed IXI set) without executing anything in them.

A pickle is a program that may call any function that it names. Here the few names by which arrays
are stored stand for plain holders of data. Even numpy's own functions are not called: a crafted
dtype can corrupt memory through them.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import InputError

PICKLES = (".pkl", ".pickle")
# What numpy's arrays are written with in the protocols 0 to 5. Dictionaries and floats describe
# structures, which are refused later with a better reason.
_OPCODES = (
    "PROTO FRAME STOP MARK GLOBAL STACK_GLOBAL REDUCE BUILD NONE NEWTRUE NEWFALSE"
    " UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 STRING BINSTRING SHORT_BINSTRING"
    " BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 FLOAT BINFLOAT INT BININT BININT1 BININT2"
    " LONG LONG1 TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_TUPLE LIST EMPTY_LIST APPEND APPENDS"
    " EMPTY_DICT DICT SETITEM SETITEMS PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET"
)
_MOST, _MOST_CALLS = 1000, 24  # a pair of arrays has at most 129 instructions, 12 of them calls
_ROLES = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
    _ROLES[f"{_core}.multiarray", "_reconstruct"] = "reconstruct"
    _ROLES[f"{_core}.numeric", "_frombuffer"] = "frombuffer"  # protocol 5


def read_pickle(path: str | Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Read the arrays of a pickle.

    Parameters
    ----------
    path : str or Path
        The pickle, of any protocol.

    Returns
    -------
    image : ndarray, shape (i, j, k)
        Of any real type.
    labels : ndarray, shape (i, j, k), or None
        None if the pickle holds an image alone.

    Raises
    ------
    InputError
        If the file is missing or damaged, or holds anything but numpy arrays of numbers.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        _check_opcodes(content)
        found = _Unpickler(BytesIO(content), encoding="latin1").load()
    except InputError as error:
        raise InputError(f"{path} {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except Exception as error:  # damaged bytes can make an unpickler raise anything
        raise InputError(f"{path} is no pickle of numpy arrays, or damaged ({error})") from error
    parts = found if isinstance(found, (tuple, list)) else (found,)
    if not 1 <= len(parts) <= 2 or not all(
        isinstance(p, _Array) and p.values is not None for p in parts
    ):
        raise InputError(
            f"{path} holds {_describe(found)}; a pair of arrays, image and labels, was expected"
        )
    image, labels = parts[0].values, parts[1].values if len(parts) == 2 else None
    if labels is not None and labels.shape != image.shape:
        raise InputError(
            f"{path} holds an image of shape {image.shape} and labels of shape {labels.shape}; one"
            " shape was expected: convert both to NIfTI"
        )
    return image, labels


def _check_opcodes(content: bytes) -> None:
    """Look at the instructions of a pickle before any of them is carried out.

    Arrays need few kinds of instructions and few of each. Others could use up the memory or the
    stack of the C unpickler, which cannot be caught.
    """
    calls = 0
    for n, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        name = opcode.name
        if name not in _OPCODES.split():
            raise InputError(f"has the instruction {name}; arrays need none of this kind")
        calls += name in ("REDUCE", "BUILD")
        memo = int(argument or 0) if name.endswith(("PUT", "GET")) else 0
        if n >= _MOST or memo >= _MOST or calls > _MOST_CALLS:
            raise InputError("has more instructions than two arrays need")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ROLES:
            raise InputError(
                f"asks for {module}.{name}; only numpy arrays are read from a pickle, convert it to"
                " NIfTI"
            )
        return _Global(_ROLES[module, name])


class _Global:
    """What one of the admitted names stands for.

    Each use makes a new object, because a pickle can set attributes.
    """

    __slots__ = ("role",)

    def __init__(self, role: str) -> None:
        self.role = role

    def __call__(self, *arguments: Any) -> Any:
        if self.role == "reconstruct":  # (ndarray, (0,), b"b"); the state follows
            return _Array()
        if self.role == "frombuffer":
            # axes: of an array that is stored with its axes in another order
            raw, dtype, shape, order, *axes = arguments
            array = _Array()
            array.fill(shape, dtype, order == "F", raw)
            if axes and array.values is not None:
                array.values = np.ascontiguousarray(array.values.transpose(axes[0]))
            return array
        if self.role == "dtype":
            return _Type(arguments[0])
        # protocols below 3 store bytes as text
        if self.role == "encode" and arguments[1] in ("latin1", "latin-1"):
            return arguments[0].encode("latin1")
        raise InputError(f"calls {self.role} in a way that numpy does not; convert it to NIfTI")


class _Type:
    """Stands for numpy.dtype: numbers of a fixed size only; an object array could hold anything."""

    __slots__ = ("order", "spec")

    def __init__(self, spec: str) -> None:
        match = (
            re.fullmatch(r"([<>|=]?)(b1|[iu][1248]|f[248])", spec)
            if isinstance(spec, str)
            else None
        )
        if match is None:
            raise InputError(
                f"holds an array of type {str(spec)[:20]!r}; arrays of real numbers were expected"
            )
        self.order, self.spec = match.groups()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """(version, byte order, subarray, names, fields, size, alignment, flags)"""
        if any(part is not None for part in state[2:5]) or state[1] not in ("<", ">", "|", "="):
            raise InputError("holds an array of structures; arrays of real numbers were expected")
        self.order = state[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.spec)


class _Array:
    """Stands for numpy.ndarray, whose state is (version, shape, dtype, Fortran order, bytes)."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.fill(*state[-4:])

    def fill(self, shape: tuple[int, ...], dtype: _Type, fortran: bool, raw: Any) -> None:
        if not isinstance(raw, (str, bytes, bytearray)):
            raise InputError("holds an array without its bytes; it is damaged")
        # Python 2 wrote text
        data = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
        kind = dtype.dtype
        if len(data) != prod(shape) * kind.itemsize:
            raise InputError(
                f"holds {len(data)} bytes for an array of shape {shape} and type {kind}; it is"
                " damaged"
            )
        values = np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")
        self.values = values.astype(kind.newbyteorder("="))


def _describe(found: Any) -> str:
    if isinstance(found, (tuple, list)):
        kinds = ", ".join(type(part).__name__.strip("_") for part in found[:4])
        return f"{len(found)} things ({kinds})"
    return f"a {type(found).__name__.strip('_')}"
