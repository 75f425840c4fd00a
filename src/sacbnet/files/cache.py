"""The folder of what can be made again, such as the seconds that earlier runs took."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from .temporary import temporary_folder


def cache_folder() -> Path:
    """Give the folder of what can be made again. No code is ever loaded from it.

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
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return temporary_folder()
