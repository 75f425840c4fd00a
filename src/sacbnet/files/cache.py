"""The folder of what can be made again, such as compiled kernels."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """Give the folder of what can be made again, such as compiled kernels.

    The environment variable SACBNET_CACHE names another place; `sacbnet` is made in it. Else it is
    the user's cache folder, as the system defines it.

    Returns
    -------
    Path
        A folder that exists and can be written. It is a temporary folder, which ends with the
        process, if the other one cannot be written.
    """
    with suppress(OSError, RuntimeError):  # RuntimeError: the user has no home folder
        place = os.environ.get("SACBNET_CACHE")
        folder = Path(place) / "sacbnet" if place else user_cache_path("sacbnet", appauthor=False)
        for part in (*reversed(folder.parents), folder):
            # nobody else may write there: code is loaded from it
            if not part.is_dir():
                part.mkdir(mode=0o700, exist_ok=True)
        if not place:
            _close_to_others(folder)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return temporary_folder()


def _close_to_others(folder: Path) -> None:
    """Take the right to write from the group, if the folder is the user's own.

    An earlier version made it with the usual rights, which under some accounts let the group write.
    """
    with suppress(OSError, AttributeError):  # AttributeError: Windows
        found = folder.stat()
        if found.st_uid == os.geteuid() and found.st_mode & 0o022 == 0o020:
            folder.chmod(found.st_mode & ~0o020)


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
