"""TOML files by name: those that come with the package, and the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sacbnet.errors import InputError


def find_toml(name: str, kind: str, places: Sequence[Path]) -> Path:
    """The file that `name` means: itself, or a file of that name in one of the places.

    Raises InputError that lists the names that are known.
    """
    if Path(name).is_file():
        return Path(name)
    known = {
        path.stem: path
        for place in places
        if place.is_dir()
        for path in sorted(place.glob("*.toml"))
    }
    if name not in known:
        raise InputError(
            f"the {kind} {name!r} is no file, and none of {', '.join(known) or 'the package'}"
        )
    return known[name]
