"""Whether a file has changed since a pack was made of it."""

from __future__ import annotations

import hashlib
from pathlib import Path


def stamp(path: Path) -> list[int]:
    """Describe a file, or a folder of a DICOM series, without reading it.

    Parameters
    ----------
    path : Path
        A file or a folder. Hidden files and sub-folders of a folder do not count.

    Returns
    -------
    list of int
        The number of files, the sum of their sizes in bytes, and their newest time in ns.
    """
    files = [p.stat() for p in _files(path)]
    return [
        len(files),
        sum(s.st_size for s in files),
        max((s.st_mtime_ns for s in files), default=0),
    ]


def digest(path: Path) -> int:
    """Compute a digest of the contents of a file, or of the files of a folder.

    Parameters
    ----------
    path : Path
        A file or a folder; the files of a folder in the order of their names.

    Returns
    -------
    int
        48 bits of BLAKE2; the numbers of JSON hold them exactly.
    """
    whole = hashlib.blake2b(digest_size=6)
    for file in _files(path):
        with file.open("rb") as opened:
            whole.update(hashlib.file_digest(opened, "blake2b").digest())
    return int.from_bytes(whole.digest(), "big")


def changed(path: Path, recorded: list[int]) -> bool:
    """Say whether a file has changed.

    The file is read only if its size is the same and its time differs: a copy, or a disk that is
    mounted anew, is no change.

    Parameters
    ----------
    path : Path
        A file or a folder.
    recorded : list of int
        Its `stamp` and then its `digest`. Older packs have no digest, and no number for a file.

    Returns
    -------
    bool
        True if the contents differ.
    """
    now = stamp(path)
    if len(recorded) < 4:
        return now[-len(recorded) :] != recorded
    return now[:2] != recorded[:2] or (now[2] != recorded[2] and digest(path) != recorded[3])


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
