"""Which arrays can be an image, a label map or a mask, and the type that each of them gets."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from sacbnet.errors import InputError

Kind = Literal["image", "labels", "mask"]
_DARKEST = -850  # Hounsfield units: an image with darker voxels is a CT with air
_FEW = 1e-3  # of the voxels: fewer NaN are single mistakes
_WHOLE = 1e-3  # a scl_slope in single precision makes 2.99999 of a 3


def check_shape(shape: tuple[int, ...], name: str, vector: bool = False) -> tuple[int, int, int]:
    """Give the (i, j, k) of a 3-D volume.

    Parameters
    ----------
    shape : tuple of int
        The shape of an array. Axes of length 1 after the third one are dropped.
    name : str
        The image, for messages.
    vector : bool, default False
        Whether the header says that the last axis holds components.

    Returns
    -------
    tuple of int
        (i, j, k), each at least 2.

    Raises
    ------
    InputError
        If the shape is not that of one 3-D volume with one value a voxel.

    Examples
    --------
    >>> check_shape((160, 192, 224, 1), "brain.nii")
    (160, 192, 224)
    """
    shape = tuple(int(n) for n in shape)
    if len(shape) < 3:
        raise InputError(f"{name} is {len(shape)}-D (shape {shape}); a 3-D image was expected")
    if min(shape) < 1:
        raise InputError(f"{name} has shape {shape}, that is no voxels; a 3-D image was expected")
    count = int(np.prod(shape[3:]))
    if count == 3 and (len(shape) == 5 or vector):
        raise InputError(
            f"{name} is a displacement field (shape {shape}); an image was expected: pass it as a"
            " transform instead"
        )
    if len(shape) > 4 and count > 1:
        raise InputError(
            f"{name} has shape {shape}, several values a voxel; a 3-D image with one value was"
            " expected"
        )
    if count > 1:
        raise InputError(
            f"{name} holds {count} volumes (shape {shape}); pass one of them, or their mean; motion"
            " within a series is for other tools, such as mcflirt or 3dvolreg"
        )
    if min(shape[:3]) < 2:
        raise InputError(f"{name} is a single slice (shape {shape[:3]}); a 3-D image was expected")
    return shape[0], shape[1], shape[2]


def check_dtype(dtype: np.dtype, name: str) -> None:
    """Check that the voxels are real numbers.

    Parameters
    ----------
    dtype : numpy.dtype
        The type of the voxels.
    name : str
        The image, for messages.

    Raises
    ------
    InputError
        If the voxels are colours, complex numbers or no numbers.
    """
    if dtype.fields is not None:
        raise InputError(
            f"{name} holds colours ({'/'.join(dtype.fields)}); a grey-scale image was expected"
        )
    if dtype.kind == "c":
        raise InputError(
            f"{name} holds complex numbers ({dtype}); a real image was expected: take the magnitude"
        )
    if dtype.kind not in "biuf":
        raise InputError(f"{name} holds values of type {dtype}; numbers were expected")


def convert(data: NDArray[np.generic], kind: Kind, name: str) -> NDArray[np.generic]:
    """Check the values and give them the type of their kind.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The voxels.
    kind : {"image", "labels", "mask"}
        "image" gives float32; the values must be finite (`without_missing`) and not constant.
        "labels" gives the stored integer type, or the smallest integer type that holds whole
        floating-point numbers. "mask" gives bool; voxels that are not 0 are inside, and at least
        one must be.
    name : str
        The image, for messages.

    Returns
    -------
    ndarray, shape (i, j, k)
        C-contiguous, in native byte order; `data` itself if nothing changes.

    Raises
    ------
    InputError
        If the values cannot be used.
    ValueError
        If `kind` is unknown.
    """
    check_dtype(data.dtype, name)
    if data.dtype.kind == "f":
        bad = data.size - int(np.count_nonzero(np.isfinite(data)))
        if bad:
            raise InputError(
                f"{name} holds {bad} voxels that are NaN or infinite, of {data.size}; replace them,"
                " e.g. by 0"
            )
    if kind == "image":
        return _image(data, name)
    if kind == "labels":
        return _labels(data, name)
    if kind != "mask":
        raise ValueError(f"kind {kind!r}; 'image', 'labels' or 'mask' was expected")
    mask = np.ascontiguousarray(data != 0)
    if not mask.any():
        raise InputError(
            f"{name} is an empty mask (every voxel is 0); some voxels inside were expected"
        )
    return mask


def without_missing(
    data: NDArray[np.generic], name: str
) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
    """Put other values in place of NaN and infinite ones.

    Programs write NaN where an image shows nothing: outside the brain, outside the field of view.
    A few NaN within the image are mistakes of a computation.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The voxels.
    name : str
        The image, for messages.

    Returns
    -------
    data : ndarray, shape (i, j, k)
        The voxels with the mean of their neighbours there, if they are few. Otherwise with 0, or
        with the smallest value in a CT and where all values are negative.
    missing : ndarray of bool, shape (i, j, k), or None
        Where the image shows nothing; None if hardly any value was NaN or infinite.

    Raises
    ------
    InputError
        If no value is finite, or all finite values are one.
    """
    if data.dtype.kind != "f":
        return data, None
    finite: NDArray[np.bool_] = np.isfinite(data)
    if finite.all():
        return data, None
    if not finite.any():
        raise InputError(
            f"{name} holds nothing but NaN or infinite values; an image with finite values was"
            " expected"
        )
    known = cast(NDArray[np.floating], data)[finite]
    low, high = float(known.min()), float(known.max())
    if low == high:
        raise InputError(
            f"{name} is constant (every finite voxel is {low:g}); an image with contrast was"
            " expected"
        )
    background = data.dtype.type(low if low <= _DARKEST or high < 0 else 0.0)
    filled = np.where(finite, data, background)
    if finite.mean() <= 1 - _FEW:
        return filled, ~finite
    known_near = uniform_filter(finite.astype(np.float32), 5)
    mean = uniform_filter(np.where(finite, data, 0).astype(np.float64), 5)
    near = ~finite & (known_near > 0.01)
    filled[near] = mean[near] / known_near[near]
    return filled, None


def _image(data: NDArray[np.generic], name: str) -> NDArray[np.float32]:
    low, high = data.min(), data.max()
    if max(abs(float(low)), abs(float(high))) > float(np.finfo(np.float32).max):
        raise InputError(
            f"{name} holds values up to {float(high):.3g}, beyond single precision; rescale them"
        )
    if low == high:
        raise InputError(
            f"{name} is constant (every voxel is {float(low):g}); an image with contrast was"
            " expected"
        )
    out = np.ascontiguousarray(data, dtype=np.float32)
    if out.min() == out.max():
        raise InputError(
            f"{name} is constant in single precision (every voxel is near {float(low):g}); subtract"
            " that value"
        )
    return out


def _labels(data: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    if data.dtype.kind == "b":
        return np.ascontiguousarray(data).view(np.uint8)
    if data.dtype.kind in "iu":
        return np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))
    whole = np.round(cast(NDArray[np.floating], data))
    fractions = np.abs(data - whole) > _WHOLE
    count = int(np.count_nonzero(fractions))
    if count:
        raise InputError(
            f"{name} holds {count} values that are not whole numbers (e.g."
            f" {float(data[fractions][0]):.9g}); a label map was expected: threshold a probability"
            " map, resample labels with nearest neighbour"
        )
    low, high = float(whole.min()), float(whole.max())
    if max(-low, high) >= 2**31:
        raise InputError(
            f"{name} holds label values from {low:g} to {high:g}; whole numbers below 2^31 were"
            " expected"
        )
    return np.ascontiguousarray(whole, dtype=integer_type(int(low), int(high)))


def integer_type(low: int, high: int) -> np.dtype:
    """Choose the smallest integer type that every file format holds.

    Parameters
    ----------
    low, high : int
        The smallest and the largest value.

    Returns
    -------
    numpy.dtype
        uint8, int16 or int32.

    Raises
    ------
    InputError
        If the values do not fit int32.
    """
    for dtype in (np.uint8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise InputError(f"the values from {low} to {high} do not fit 32-bit integers")
