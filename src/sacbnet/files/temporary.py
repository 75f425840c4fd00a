"""A folder of this process for what nobody else needs."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path


def temporary_folder() -> Path:
    """Give a folder of this process, which ends with it. Only this user can read or write it.

    Returns
    -------
    Path
        The same folder at each call.
    """
    return Path(_temporary().name)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="sacbnet-")
