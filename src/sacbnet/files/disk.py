"""What the disk says: its errors as sentences, and what is put on it for good."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sacbnet.errors import OutputError

_REMEDY = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space and run again",
    errno.EFBIG: "the file system or a limit of the account allows no larger file",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: "a part of this path is a file; choose another folder",
    errno.EEXIST: "it is a file; choose another folder",
    errno.EISDIR: "it is a folder; choose another name",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the disk into an OutputError of one sentence.

    Parameters
    ----------
    path : Path
        What is being written, for the message.

    Yields
    ------
    None

    Raises
    ------
    OutputError
        For an OSError, and for a RuntimeError of SimpleITK. Other errors pass unchanged.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDY.get(error.errno or 0, "check the path and the disk")
        raise OutputError(
            f"{path} could not be written ({error.strerror or error}): {remedy}"
        ) from error
    except RuntimeError as error:
        if "SimpleITK" not in str(error) and "sitk::" not in str(error):
            raise  # an error of the program, not of the disk
        reason = str(error).strip().splitlines()[-1]
        raise OutputError(
            f"{path} could not be written ({reason}): check the path and the free space"
        ) from error


def sync(file: Path) -> None:
    """Put the contents of a file on the disk.

    A file that is renamed before that may be empty after a power cut (XFS, NFS).

    Parameters
    ----------
    file : Path
        The file.

    Raises
    ------
    OSError
        If the disk does not take the contents.
    """
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, if the system can open folders (Windows cannot).

    Parameters
    ----------
    folder : Path
        The folder.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
