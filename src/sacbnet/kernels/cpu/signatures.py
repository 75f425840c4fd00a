"""The arguments of every compiled kernel: one table, and the checks before each call.

An entry of the table names the arguments in order. Each argument has a kind and a name:

- ``long``, ``double``: a whole number, a real number;
- ``float32``, ``float64``, ``int64``, ``bool``: an array of this type, dense, with its last axis
  contiguous;
- ``any``: an array of any type, dense, with its last axis contiguous;
- ``voxels``: a tensor of float32 or bfloat16 with its channels side by side
  (torch.channels_last_3d);
- ``image``: a tensor of float32 or bfloat16, dense in either of these two layouts;
- ``voxels32``, ``image32``: the same in float32 only;
- ``bf16 of NAME``: whether the argument NAME is bfloat16.

``out`` before the kind means that the kernel writes to the array. ``?`` after the kind means that
None is allowed. ``like NAME`` after the name means that both arrays have the same type. Arrays are
tensors on the CPU or NumPy arrays; NumPy has no bfloat16.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Value = Tensor | NDArray[np.generic] | int | float | None

_SIZE = "long b, long i, long j, long k"
_CONV = f"{_SIZE}, long c_in, long c_out, long threads"
_NORM = "float32? scale, float32? shift, double slope"
_PAIR = "voxels moving, bf16 of moving, voxels fixed, bf16 of fixed"
_WARP = (
    "image image, bf16 of image, long planar, long b, long c, long i, long j, long k, float32 at, "
    "long absolute, long border, long i_out, long j_out, long k_out, long add"
)
_STEPS = "int64 kinds, float64 matrices, long count"
_PUSHED = "out voxels? d_moving like moving, out voxels? d_fixed like fixed"

SIGNATURES = {
    # convolutions: blocks of convolution, norm and leaky ReLU; the adaptive one; the mixed one
    "conv": f"voxels x, bf16 of x, {_NORM}, float32 weight, long transposed, float32? bias, "
    f"out voxels y, bf16 of y, out float64? sums, {_CONV}",
    "conv_tasks": "long i, long j, long k, long c_in",
    "conv_gradient": f"voxels x, bf16 of x, {_NORM}, voxels g, bf16 of g, out float32 sums, "
    f"{_CONV}",
    "close_norm": "voxels y, bf16 of y, float32 scale, float32 shift, double slope, "
    "out voxels out like y, long b, long voxels, long c, long threads",
    "norm_gradient": "voxels g, bf16 of g, voxels y, bf16 of y, long closed, float32 scale, "
    "float32 shift, double slope, out voxels out like g, long b, long voxels, long c, long threads",
    "adaptive_conv": "voxels x, bf16 of x, float32 weight, long transposed, float32? bias, "
    f"int64 labels, float32 taps, long clusters, out voxels y, bf16 of y, {_CONV}",
    "adaptive_conv_gradient": "voxels x, bf16 of x, voxels g, bf16 of g, int64 labels, "
    f"long clusters, out float32 sums, {_CONV}",
    "mixed_conv": "voxels x, bf16 of x, float32 weight, float32 bias, float32 shares, "
    f"float32 taps, long clusters, out voxels y, bf16 of y, {_CONV}",
    "mixed_conv_backward": "voxels g, bf16 of g, float32 weight, float32 shares, float32 taps, "
    f"long clusters, voxels z, out voxels dz like z, bf16 of z, out float32 d_weights, {_CONV}",
    "mixed_conv_gradient": "voxels x, bf16 of x, voxels g, bf16 of g, float32 shares, "
    "float32 taps, float32 bias, float32 d_weights, long clusters, out float32 d_shares, "
    f"out float32 d_kernel, out float32 d_taps, out float32 d_bias, {_CONV}",
    # small steps between the convolutions
    "pool2": f"out voxels x, out voxels y like x, bf16 of x, long back, {_SIZE}, long c, "
    "long threads",
    "leaky_add": "voxels y, voxels x like y, double slope, out voxels out like y, bf16 of y, "
    "long back, long count, long threads",
    "neighbourhood_mean": f"voxels z, bf16 of z, out voxels32 out, {_SIZE}, long c, long threads",
    # K-means
    "plus_plus": "float32 x, float32 race, long tries, out float32 centres, "
    "long b, long p, long c, long clusters, long threads",
    "lloyd": "float32 x, out float32 centres, long max_rounds, double tolerance, out int64 labels, "
    "out int64 rounds, long b, long p, long c, long clusters, long threads",
    # local matching, with a window of 3 and of 5
    "matching": f"{_PAIR}, out float32 out, {_SIZE}, long c, long threads",
    "matching_wide": f"{_PAIR}, out float32 out, {_SIZE}, long c, long threads",
    "matching_backward": f"{_PAIR}, float32 g, {_PUSHED}, {_SIZE}, long c, long threads",
    "matching_wide_backward": f"{_PAIR}, float32 g, {_PUSHED}, {_SIZE}, long c, long threads",
    # warping
    "warp": f"{_WARP}, out image out like image, long threads",
    "warp_backward": f"{_WARP}, image g like image, out float32? d_at, out image32? d_image, "
    "long threads",
    "up": "float32 x, out float32 y, long volumes, long i, long j, long k, long threads",
    "up_backward": "float32 g, out float32 d_x, long volumes, long i, long j, long k, long threads",
    # maps of points in the world
    "displacement": f"{_STEPS}, float64 to_world, long i, long j, long k, out float32 u, "
    "long threads",
    "invert": f"{_STEPS}, int64 start_kinds, float64 start_matrices, long start_count, "
    "float64 back, float64 to_domain, int64 domain, float64 to_world, long i, long j, long k, "
    "double tolerance, long rounds, out float32 u, out float64 residuals, long threads",
    "along_axes": "float32 displacement_mm, float64 linear, long voxels, out float32 out, "
    "long threads",
    "resample": "any data, long bytes, long has_sign, int64 sizes, float64 to_voxels, "
    f"float64 to_world, {_STEPS}, long way, double fill, out any out like data, long threads",
    # volumes and folds on a lattice
    "folded_cells": "float32 u, out bool bad, long i, long j, long k, double margin, long threads",
    "jacobian": "float32 u, out float32 out, long i, long j, long k, long threads",
    "push_apart": "float32 u, int64 cells, long count, out float32 push, out float32 times, "
    "out int64 touched, long i, long j, long k, double margin, double goal",
    # losses
    "box_mean": "float32 x, out float32 between, out float32 y, long volumes, "
    "long i, long j, long k, long radius, long threads",
    "correlation": "float32 moved, float32 fixed, float32? weight, double share, double epsilon, "
    "out float32 between, out float32? slope, out float64 totals, long volumes, "
    "long i, long j, long k, long radius, long threads",
    "square_gradient": "float32 u, out float32? slope, out float64 totals, long volumes, "
    "long i, long j, long k, double weight_i, double weight_j, double weight_k, long threads",
}


@dataclass(frozen=True)
class _Array:
    """What an array must be. letter: of the C type it is passed as (export.h)."""

    letter: str
    types: tuple[torch.dtype, ...]  # an empty tuple stands for all types
    layouts: tuple[str, ...]


_PLAIN = {"float32": "f", "float64": "d", "int64": "i", "bool": "b"}
_MIXED = (torch.float32, torch.bfloat16)
_ARRAYS = {
    **{name: _Array(c, (getattr(torch, name),), ("planar",)) for name, c in _PLAIN.items()},
    "image32": _Array("f", (torch.float32,), ("planar", "channels")),
    "voxels32": _Array("f", (torch.float32,), ("channels",)),
    "any": _Array("v", (), ("planar",)),
    "voxels": _Array("v", _MIXED, ("channels",)),
    "image": _Array("v", _MIXED, ("planar", "channels")),
}
_FORMATS = {"planar": torch.contiguous_format, "channels": torch.channels_last_3d}
_WORDS = {
    "planar": "dense with its last axis contiguous",
    "channels": "dense with its channels side by side (torch.channels_last_3d)",
}


class Signature:
    """The arguments of one kernel.

    Parameters
    ----------
    kernel : str
        The name of the kernel, for messages.
    declaration : str
        The arguments in order, as the module's docstring describes them.

    Raises
    ------
    ValueError
        If the declaration has a kind that does not exist, or refers to an unknown argument.

    Examples
    --------
    >>> scale = Signature("scale", "float32 x, double factor, out float32? y")
    >>> scale.letters, scale.names
    ('frF', ['x', 'factor', 'y'])
    >>> scale.arguments((torch.ones(2, dtype=torch.float64), 2.0, None))
    Traceback (most recent call last):
    ...
    TypeError: the kernel scale: the argument x is torch.float64; torch.float32 was expected
    """

    def __init__(self, kernel: str, declaration: str) -> None:
        self.kernel = kernel
        self.names: list[str] = []
        self.letters = ""  # of the C types; export.h defines them
        self._checks: list[Callable[[Value], int | float | None]] = []
        flags: list[tuple[int, str]] = []  # place of a flag, the array that it describes
        alike: list[tuple[int, str]] = []  # place of an array, another one of the same type
        for n, text in enumerate(declaration.split(",")):
            words = text.split()
            written = words[0] == "out"
            kind, name, *other = words[written:]
            if kind == "bf16":  # bf16 of NAME
                flags.append((n, other[0]))
                kind, name = "long", f"bf16 of {other[0]}"
            elif other:  # like NAME
                alike.append((n, other[1]))
            self.names.append(name)
            letter, check = self._kind(name, kind.rstrip("?"), written, kind.endswith("?"))
            self.letters += letter
            self._checks.append(check)
        self._flags = [(n, self.names.index(of)) for n, of in flags]
        self._alike = [(n, self.names.index(of)) for n, of in alike]

    def arguments(self, values: tuple[Value, ...]) -> list[int | float | None]:
        """Check the values of a call, and turn each into what ctypes passes on.

        Parameters
        ----------
        values : tuple
            The arguments of the call.

        Returns
        -------
        list of int, float or None
            Addresses of arrays, and numbers.

        Raises
        ------
        TypeError
            If the number of values or a value's type or device is wrong, or an array's type.
        ValueError
            If an array is not dense in the layout that the kernel reads, or cannot be written to.
        """
        if len(values) != len(self.names):
            raise TypeError(
                f"the kernel {self.kernel} got {len(values)} arguments; "
                f"{len(self.names)} were expected: {', '.join(self.names)}"
            )
        out = [check(value) for check, value in zip(self._checks, values, strict=True)]
        for n, of in self._flags:
            if bool(values[n]) != (getattr(values[of], "dtype", None) == torch.bfloat16):
                raise TypeError(
                    f"the kernel {self.kernel}: the flag '{self.names[n]}' is {values[n]}, "
                    f"but the argument {self.names[of]} is {_type(values[of])}"
                )
        for n, of in self._alike:
            if values[n] is not None and _type(values[n]) != _type(values[of]):
                raise TypeError(
                    f"the kernel {self.kernel}: the argument {self.names[n]} is "
                    f"{_type(values[n])}; {_type(values[of])}, as {self.names[of]} is, was expected"
                )
        return out

    def _kind(
        self, name: str, kind: str, written: bool, optional: bool
    ) -> tuple[str, Callable[[Value], int | float | None]]:
        """The letter of the C type, and the check, of one argument."""
        about = f"the kernel {self.kernel}: the argument {name}"
        if kind == "long":
            return "l", lambda value: _whole(value, about)
        if kind == "double":
            return "r", lambda value: _real(value, about)
        if kind not in _ARRAYS:
            raise ValueError(f"{about} has the kind {kind!r}; one of {', '.join(_ARRAYS)}, long, "
                             "double and bf16 was expected")  # fmt: skip
        array = _ARRAYS[kind]
        letter = array.letter.upper() if written else array.letter
        numpy_types = tuple(np.dtype(str(t).removeprefix("torch.")) for t in array.types
                            if t != torch.bfloat16)  # fmt: skip

        formats = [_FORMATS[layout] for layout in array.layouts]
        first, others = formats[0], formats[1:]

        def address(value: Value) -> int | None:
            if isinstance(value, Tensor):
                if not value.is_cpu:
                    raise TypeError(f"{about} lies on {value.device}; the CPU was expected")
                if array.types and value.dtype not in array.types:
                    raise TypeError(f"{about} is {value.dtype}; {_names(array)} was expected")
                if not value.is_contiguous(memory_format=first) and not (
                    others and value.is_contiguous(memory_format=others[0])
                ):
                    raise ValueError(_not_dense(about, value.shape, value.stride(), array))
                return value.data_ptr()
            if value is None and optional:
                return None
            if not isinstance(value, np.ndarray):
                raise TypeError(f"{about} is a {type(value).__name__}; an array was expected")
            if array.types and value.dtype not in numpy_types:
                raise TypeError(f"{about} is {value.dtype}; {_names(array)} was expected")
            if not value.flags.c_contiguous or "planar" not in array.layouts:
                raise ValueError(_not_dense(about, value.shape, value.strides, array))
            if written and not value.flags.writeable:
                raise ValueError(f"{about} is read-only; an array to write to was expected")
            return value.ctypes.data

        return letter, address


def _whole(value: Value, about: str) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise TypeError(f"{about} is a {type(value).__name__}; a whole number was expected")


def _real(value: Value, about: str) -> float:
    if isinstance(value, int | float):
        return value
    raise TypeError(f"{about} is a {type(value).__name__}; a number was expected")


def _type(value: Value) -> str:
    return str(getattr(value, "dtype", type(value).__name__))


def _names(array: _Array) -> str:
    return " or ".join(str(t) for t in array.types)


def _not_dense(about: str, shape: object, strides: object, array: _Array) -> str:
    expected = " or ".join(_WORDS[layout] for layout in array.layouts)
    return f"{about} has shape {shape} and strides {strides}; it was expected {expected}"


def c_types(letters: str) -> list[type]:
    """The types of ctypes for the letters of a signature.

    Parameters
    ----------
    letters : str
        One letter for each argument, as export.h defines them.

    Returns
    -------
    list of type
        One type of ctypes for each argument; arrays are addresses.

    Examples
    --------
    >>> [t.__name__ for t in c_types("lrF")]
    ['c_long', 'c_double', 'c_void_p']
    """
    plain: dict[str, type] = {"l": ctypes.c_long, "r": ctypes.c_double}
    return [plain.get(letter, ctypes.c_void_p) for letter in letters]
