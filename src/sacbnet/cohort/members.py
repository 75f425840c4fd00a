"""Which images a group has: a BIDS dataset, a folder of images, or a CSV with a row for each."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from sacbnet.data.listing import LABELS, files_of, image_suffixes, listed_file, names_of, stem
from sacbnet.data.sources.csv import read_rows
from sacbnet.errors import InputError

from .bids import BidsImage, is_bids, read_bids
from .pairs import CohortPair, refuse_doubles

_COLUMNS = ("name", "image", "mask", "labels", "subject")
_MORE = "image_"  # begins the names of columns with further contrasts


@dataclass(frozen=True, kw_only=True)
class Member:
    """One image of a group, and what belongs to it.

    Parameters
    ----------
    name : str
        Its name, which is that of its results.
    image : Path
        The image.
    mask, labels : Path or None, default None
        Where the image counts, and its label map, each on its grid.
    subject : str, default ""
        Whose image it is; "" if nobody said so.
    contrasts : Mapping[str, Path], default empty
        Further images on the grid of the image, by the name of their contrast.
    bids : BidsImage or None, default None
        Its entities, where it comes from a BIDS dataset.
    """

    name: str
    image: Path
    mask: Path | None = None
    labels: Path | None = None
    subject: str = ""
    contrasts: Mapping[str, Path] = field(default_factory=dict)
    bids: BidsImage | None = None

    def files(self) -> list[Path]:
        """List the files that are read.

        Returns
        -------
        list[Path]
            The image and what belongs to it.
        """
        return [
            path
            for path in (self.image, self.mask, self.labels, *self.contrasts.values())
            if path is not None
        ]


def read_members(source: str | Path, suffix: str | None = None) -> tuple[Member, ...]:
    """List the images of a group. No image is opened.

    Parameters
    ----------
    source : str or Path
        A BIDS dataset; a folder of images, whose label maps may lie in a folder ``labels`` under
        the same names; or a CSV with the column image and perhaps name, mask, labels, subject and,
        for further contrasts, ``image_`` with their names. Paths are relative to the CSV.
    suffix : str or None, default None
        The kind of images in a BIDS dataset, such as "T1w". None: the only kind.

    Returns
    -------
    tuple[Member, ...]
        The images.

    Raises
    ------
    InputError
        If the source is none of these, is empty, or gives two images one name.
    """
    source = Path(source)
    if source.is_dir() and is_bids(source):
        found = [
            Member(
                name=f"{image.stem}_{image.suffix}",
                image=image.path,
                subject=f"sub-{image.entities['sub']}",
                bids=image,
            )
            for image in read_bids(source, suffix)
        ]
    elif suffix is not None:
        raise InputError(
            f"--suffix is for a BIDS dataset; {source} is none, as it has no dataset_description"
            ".json or no folder sub-..."
        )
    elif source.is_dir():
        found = _of_folder(source)
    else:
        found = _of_csv(source)
    names = Counter(member.name.casefold() for member in found)
    if doubles := [m.name for m in found if names[m.name.casefold()] > 1]:
        raise InputError(f"{source} holds two images named {doubles[0]!r}; rename one of them")
    return tuple(found)


def to_reference(
    members: Sequence[Member],
    reference: Path,
    mask: Path | None = None,
    labels: Path | None = None,
) -> tuple[CohortPair, ...]:
    """Pair every image with one reference, which is the fixed image.

    Parameters
    ----------
    members : sequence of Member
        The images. The reference itself is left out if it is one of them.
    reference : Path
        The fixed image.
    mask, labels : Path or None, default None
        Its mask and its label map.

    Returns
    -------
    tuple[CohortPair, ...]
        The pairs, named MOVING_to_FIXED.

    Raises
    ------
    InputError
        If the reference does not exist, or is the only image.
    """
    if not reference.exists():
        raise InputError(
            f"--to names {reference}, which does not exist; a path of an image, or pairwise, was"
            " expected"
        )
    pairs = tuple(
        CohortPair(
            name=plain(f"{member.name}_to_{plain(stem(reference.name))}"),
            fixed=reference,
            moving=member.image,
            fixed_mask=mask,
            moving_mask=member.mask,
            fixed_labels=labels,
            moving_labels=member.labels,
        )
        for member in members
        if not (member.image.exists() and os.path.samefile(member.image, reference))
    )
    if not pairs:
        raise InputError(f"{reference} is the only image; at least one other was expected")
    refuse_doubles(pairs)
    return pairs


def pairwise(members: Sequence[Member]) -> tuple[CohortPair, ...]:
    """Pair every image with every other one, each pair once.

    Each result holds the transform and its inverse, so both directions are there.

    Parameters
    ----------
    members : sequence of Member
        The images. Of each pair, the one that comes first is the fixed image.

    Returns
    -------
    tuple[CohortPair, ...]
        n (n - 1) / 2 pairs for n images, named MOVING_to_FIXED.

    Raises
    ------
    InputError
        If there is only one image.
    """
    if len(members) < 2:
        raise InputError("the cohort has one image; two at least were expected for pairwise")
    pairs = tuple(
        CohortPair(
            name=plain(f"{moving.name}_to_{fixed.name}"),
            fixed=fixed.image,
            moving=moving.image,
            fixed_mask=fixed.mask,
            moving_mask=moving.mask,
            fixed_labels=fixed.labels,
            moving_labels=moving.labels,
        )
        for fixed, moving in combinations(members, 2)
    )
    refuse_doubles(pairs)
    return pairs


def plain(name: str) -> str:
    """Make a name that a folder can have.

    Parameters
    ----------
    name : str
        Any name.

    Returns
    -------
    str
        The name with hyphens in place of other letters than `CohortPair` allows.
    """
    return re.sub(r"[^\w.+@-]", "-", name).lstrip(".+@-") or "image"


def _of_folder(source: Path) -> list[Member]:
    below = source / "images" if (source / "images").is_dir() else source
    kept = [
        path
        for path in files_of(below, image_suffixes())
        if not any(part.lower() in LABELS for part in path.relative_to(source).parts[:-1])
    ]
    if not kept:
        raise InputError(
            f"{source} holds no image; a folder of images, a BIDS dataset or a CSV was expected"
        )
    names = names_of(kept)
    members = []
    for path in kept:
        labels = [source / folder / path.relative_to(below) for folder in LABELS]
        there = next((p for p in labels if p.is_file()), None)
        members.append(Member(name=plain(names[path]), image=path, labels=there))
    return members


def _of_csv(source: Path) -> list[Member]:
    header, rows = read_rows(source)
    more = [column for column in header if column.startswith(_MORE) and column != _MORE]
    if "image" not in header or (unknown := sorted({*header} - {*_COLUMNS, *more})):
        which = "the columns " + ", ".join(header) if "image" not in header else unknown[0]
        raise InputError(
            f"{source} has {which}; image, and no others than {', '.join(_COLUMNS)} and"
            f" {_MORE}NAME were expected"
        )
    if not rows:
        raise InputError(f"{source} holds no row below its header; at least one was expected")

    def file(line: int, text: str) -> Path | None:
        return listed_file(source, f"line {line}", text) if text else None

    # an image that is missing fails alone, and later
    images = {n: Path(os.path.normpath(source.parent / row["image"])) for n, row in rows}
    if empty := [n for n, row in rows if not row["image"]]:
        raise InputError(f"{source}, line {empty[0]} names no image; a path was expected")
    names = names_of(images.values())
    return [
        Member(
            name=plain(row.get("name") or names[images[line]]),
            image=images[line],
            mask=file(line, row.get("mask", "")),
            labels=file(line, row.get("labels", "")),
            subject=row.get("subject", ""),
            contrasts={
                column.removeprefix(_MORE): path
                for column in more
                if (path := file(line, row[column])) is not None
            },
        )
        for line, row in rows
    ]
