"""What the sources share: names of cases, files of known formats, and pairs of listed images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from sacbnet.errors import InputError
from sacbnet.io.format import ImageFormat, PointsFormat
from sacbnet.io.table import suffixes

from .cases import Case, PairList, natural
from .pickles import PICKLES

LABELS, LANDMARKS = ("labels",), ("points", "landmarks", "keypoints")  # names of folders
_MODALITY = re.compile(r"_\d{4}$")


def image_suffixes() -> tuple[str, ...]:
    """List the suffixes of images.

    Returns
    -------
    tuple of str
        In lower case, with the dot.
    """
    return suffixes(ImageFormat)


def points_suffixes() -> tuple[str, ...]:
    """List the suffixes of landmarks.

    Returns
    -------
    tuple of str
        In lower case, with the dot.
    """
    return suffixes(PointsFormat)


def stem(path: str | Path) -> str:
    """Give a path without the suffix of a known format.

    Parameters
    ----------
    path : str or Path
        Any path.

    Returns
    -------
    str
        The path with forward slashes.

    Examples
    --------
    >>> stem("Train/S01.nii.gz"), stem("S01.v2")
    ('Train/S01', 'S01.v2')
    """
    text = Path(path).as_posix()
    known = sorted((*image_suffixes(), *PICKLES, *points_suffixes()), key=len, reverse=True)
    return next((text[: -len(s)] for s in known if text.lower().endswith(s)), text)


def without_modality(key: str) -> str:
    """Remove the number of the modality from a name.

    Learn2Reg and nnU-Net end the names of images with it. nnU-Net's labels do not have it.

    Parameters
    ----------
    key : str
        The name of an image, without suffix.

    Returns
    -------
    str
        The name without an end such as "_0000".
    """
    return _MODALITY.sub("", key)


def files_of(folder: Path, ends: tuple[str, ...]) -> Iterator[Path]:
    """Find the files of some formats in a folder and below it.

    Hidden files are left out. The voxel file of a pair is left out if its header is there.

    Parameters
    ----------
    folder : Path
        A folder.
    ends : tuple of str
        Suffixes, in lower case.

    Yields
    ------
    Path
        The files, sorted.
    """
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.name.lower().endswith(ends) or not path.is_file():
            continue
        header = re.sub(r"\.img(\.gz)?$", r".hdr\1", path.name)
        if header == path.name or not path.with_name(header).is_file():
            yield path


def listed_file(source: Path, where: str, text: str) -> Path:
    """Find the file, or the DICOM folder, that a list names.

    Parameters
    ----------
    source : Path
        The list. Its paths are relative to its folder.
    where : str
        The place in the list, for messages.
    text : str
        The path as the list gives it.

    Returns
    -------
    Path
        A path that exists.

    Raises
    ------
    InputError
        If the text is empty, or if nothing is there.
    """
    if not text:
        raise InputError(f"{source}, {where} names no image; a path was expected")
    path = Path(os.path.normpath(source.parent / text))
    if not os.path.exists(path):
        raise InputError(
            f"{source}, {where} names {text}, but {path} does not exist; paths are relative to the"
            " list"
        )
    return path


def names_of(images: Iterable[Path]) -> dict[Path, str]:
    """Name listed images by their paths below the folder that all of them share.

    Parameters
    ----------
    images : iterable of Path
        The images.

    Returns
    -------
    dict of Path to str
        Image to name, without suffix.
    """
    paths = list(images)
    shared = Path(os.path.commonpath([p.parent for p in paths]))
    return {path: stem(path.relative_to(shared)) for path in paths}


def pair_list(
    found: Mapping[Path, list[Path | None]],
    pairs: Iterable[tuple[Path, Path]],
    names: Mapping[Path, str],
    source: Path,
) -> PairList:
    """Make cases of listed images, and pairs of their paths.

    Parameters
    ----------
    found : mapping of Path to list
        Image to its labels and points; None where an image has none.
    pairs : iterable of (Path, Path)
        Moving and fixed images.
    names : mapping of Path to str
        Image to the name of its case.
    source : Path
        The list, for messages.

    Returns
    -------
    PairList
        The cases in the natural order of their names, and the pairs as indices.

    Raises
    ------
    InputError
        If two cases have one name.
    """
    cases = in_order([Case(names[image], image, *more) for image, more in found.items()], source)
    index = {case.image: n for n, case in enumerate(cases)}
    return PairList(cases, tuple((index[moving], index[fixed]) for moving, fixed in pairs))


def in_order(cases: Iterable[Case], source: Path) -> tuple[Case, ...]:
    """Sort cases in the natural order of their names.

    Parameters
    ----------
    cases : iterable of Case
        The cases of a dataset.
    source : Path
        The dataset, for messages.

    Returns
    -------
    tuple of Case
        The sorted cases.

    Raises
    ------
    InputError
        If two cases have one name.
    """
    ordered = sorted(cases, key=lambda case: natural(case.name))
    for one, other in pairwise(ordered):
        if one.name == other.name:
            raise InputError(
                f"{source} holds two cases {one.name!r} ({one.image} and {other.image}); rename one"
                " of them"
            )
    return tuple(ordered)
