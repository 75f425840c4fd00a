"""A small picture of each pair, in a folder beside the results; index.html shows them."""

from __future__ import annotations

from pathlib import Path

from sacbnet.files import atomic_file, writing
from sacbnet.io.images import load_image
from sacbnet.io.transforms import load_displacement
from sacbnet.registration.result import TRANSFORM
from sacbnet.reporting.page.thumbnail import thumbnail

from .pairs import THUMBNAILS, CohortPair


def thumbnail_file(out: Path, name: str) -> Path:
    """Give the place of a pair's picture.

    Parameters
    ----------
    out : Path
        Folder of the cohort.
    name : str
        Name of the pair.

    Returns
    -------
    Path
        The file.
    """
    return out / THUMBNAILS / f"{name}.jpg"


def write_thumbnail(out: Path, name: str, picture: bytes) -> None:
    """Write the picture of a pair.

    Parameters
    ----------
    out : Path
        Folder of the cohort.
    name : str
        Name of the pair.
    picture : bytes
        A JPEG.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = thumbnail_file(out, name)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write_bytes(picture)


def thumbnail_from_files(pair: CohortPair, out: Path) -> bytes:
    """Draw the picture of a pair that was registered before.

    Parameters
    ----------
    pair : CohortPair
        The pair.
    out : Path
        Folder of the cohort, which holds its result.

    Returns
    -------
    bytes
        A JPEG.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    labels = [
        None if path is None else load_image(path, "labels")
        for path in (pair.fixed_labels, pair.moving_labels)
    ]
    return thumbnail(
        fixed=load_image(pair.fixed),
        moving=load_image(pair.moving),
        transform=load_displacement(out / pair.name / TRANSFORM),
        fixed_labels=labels[0],
        moving_labels=labels[1],
    )
