"""Matrices as text, as several tools write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_LARGEST = 1 << 16  # bytes; a matrix takes some hundred


def text_of_matrix_file(path: Path, largest: int = _LARGEST) -> str | None:
    """Read a small text file.

    Parameters
    ----------
    path : Path
        A file that exists.
    largest : int, default 65536
        Largest number of bytes.

    Returns
    -------
    str or None
        The text; None if the file is larger, is no text, or cannot be read.
    """
    try:
        if not path.is_file() or path.stat().st_size > largest:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def numbers_of(path: Path) -> list[float] | None:
    """Read the numbers of a text file that holds nothing but numbers and comments.

    Parameters
    ----------
    path : Path
        A file that exists. A comment starts with "#" and ends with its line.

    Returns
    -------
    list of float or None
        The numbers, row by row; None if the file holds anything else.
    """
    text = text_of_matrix_file(path)
    if text is None:
        return None
    words = [word for line in text.splitlines() for word in line.partition("#")[0].split()]
    try:
        found = [float(word) for word in words]
    except ValueError:
        return None
    return found if found and bool(np.isfinite(found).all()) else None


def matrix_text(matrix: NDArray[np.float64]) -> str:
    """Write a matrix as lines of numbers that read back exactly.

    Parameters
    ----------
    matrix : ndarray, shape (rows, columns)
        The matrix.

    Returns
    -------
    str
        A line for each row, numbers with blanks between them.
    """
    # + 0.0 removes the minus sign of a zero
    rows = ("  ".join(f"{value + 0.0:.17g}" for value in row) for row in matrix)
    return "\n".join(rows) + "\n"
