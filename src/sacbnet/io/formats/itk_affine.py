"""ITK's transform files, as far as they hold something linear."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import SimpleITK as sitk
from typing_extensions import override

from sacbnet.errors import GridError, InputError
from sacbnet.io.format import AffineFormat
from sacbnet.io.headers import LPS
from sacbnet.io.itk import itk_name, matrix_of_corners, plain_numbers
from sacbnet.io.itk_process import describe_transform
from sacbnet.spatial.transforms import Affine

_LARGEST = 1 << 20  # bytes of a text or .mat file; a linear transform takes about a thousand

_NAME = re.compile(rb"\s*[A-Za-z0-9]+_(double|float)_\d+_\d+\s*")


class ItkAffine(AffineFormat):
    """Rigid, similarity, affine or translation transforms of ITK, or several composed.

    What is written is an AffineTransform_double_3_3 (LPS, centre 0), as in ANTs'
    0GenericAffine.mat.
    """

    suffixes = (".mat", ".txt", ".tfm")
    written = (".mat", ".txt", ".tfm")
    tools = ("itk", "ants", "slicer")

    @override
    def read(self, path: Path) -> Affine:
        """Read through SimpleITK; the centre of the transform is taken into account."""
        name, size = itk_name(path), path.stat().st_size
        if size > _LARGEST:
            raise InputError(
                f"{path} has {size} bytes; a linear transform of at most {_LARGEST} was expected"
            )
        _check(path)
        try:
            with plain_numbers():
                facts = describe_transform(name)
        except RuntimeError as error:
            raise InputError(
                f"{path} is not a transform that ITK reads, nor a 4x4 matrix of FSL"
            ) from error
        if facts["dimension"] != 3:
            raise InputError(
                f"{path} is a {facts['dimension']}-D transform; a 3-D one was expected"
            )
        if not facts["linear"]:
            raise InputError(
                f"{path} is not linear ({facts['name']}); pass its displacement field as NIfTI, and"
                " its affine as a file of its own"
            )
        try:
            return Affine(matrix_of_corners(facts["corners"]))
        except GridError as error:
            raise InputError(f"{path}: {error}") from error

    @override
    def write(self, path: Path, content: Affine) -> None:
        """Write through SimpleITK and compare what is read back."""
        matrix = LPS @ content.matrix @ LPS
        transform = sitk.AffineTransform(3)
        # + 0.0 removes the minus sign of a zero
        transform.SetMatrix((matrix[:3, :3] + 0.0).ravel().tolist())
        transform.SetTranslation((matrix[:3, 3] + 0.0).tolist())
        with plain_numbers():
            sitk.WriteTransform(transform, itk_name(path))
            # ITK does not notice a full disk here
            same = sitk.ReadTransform(itk_name(path)).GetParameters() == transform.GetParameters()
        if not same:
            raise OSError(f"{path.name} reads back with other values")


def _check(path: Path) -> None:
    """Look at a text or .mat file before ITK does: some damaged ones end ITK's process."""
    content = path.read_bytes()
    if content.startswith(b"#Insight Transform File"):
        names = re.findall(rb"^\s*Transform:(.*)$", content, re.MULTILINE)
        lines = [line for line in content.splitlines() if not line.startswith(b"#")]
        good = all(line.isascii() and b"\0" not in line for line in lines)
    else:
        names, good = _matlab_names(content)[:1], True
    if not good or not names or not all(_NAME.fullmatch(name) for name in names):
        raise InputError(f"{path} is not a transform that ITK reads, nor a 4x4 matrix of FSL")


def _matlab_names(content: bytes) -> list[bytes]:
    """The names of the matrices in a file of MATLAB 4; none if the file is cut or damaged."""
    names, at = [], 0
    while at + 20 <= len(content):
        _, rows, columns, _, length = struct.unpack_from("<5i", content, at)
        end = at + 20 + max(length, 0)
        if min(rows, columns, length) < 0 or end + rows * columns * 4 > len(content):
            return []
        names.append(content[at + 20 : end].rstrip(b"\0"))
        at = end + rows * columns * 8
    return names
