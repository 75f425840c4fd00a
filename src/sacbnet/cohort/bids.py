"""Images of a BIDS dataset: subjects, sessions and entities by the names of the files.

References
----------
K. Gorgolewski et al., "The brain imaging data structure", Scientific Data 2016.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sacbnet.errors import InputError

DESCRIPTION = "dataset_description.json"
_ENDS = (".nii.gz", ".nii")
_ENTITY = re.compile(r"([a-z]+)-([0-9A-Za-z+]+)")
# label maps, masks, series and what is no picture of anatomy
_NO_IMAGES = ("dseg", "probseg", "mask", "bold", "sbref", "dwi", "xfm", "defacemask")


@dataclass(frozen=True)
class BidsImage:
    """An image of a BIDS dataset.

    Parameters
    ----------
    path : Path
        The file.
    entities : Mapping[str, str]
        Its entities in the order of the name, such as sub and ses.
    suffix : str
        The last part of its name, such as "T1w".
    """

    path: Path
    entities: Mapping[str, str]
    suffix: str

    @property
    def stem(self) -> str:
        """The entities as they stand in the name, such as "sub-01_ses-1"."""
        return "_".join(f"{key}-{value}" for key, value in self.entities.items())

    @property
    def folder(self) -> Path:
        """The folder of the image below that of its dataset."""
        session = self.entities.get("ses")
        sub = Path(f"sub-{self.entities['sub']}")
        return (sub / f"ses-{session}" if session else sub) / self.path.parent.name


def is_bids(folder: Path) -> bool:
    """Say whether a folder is a BIDS dataset.

    Parameters
    ----------
    folder : Path
        Any path.

    Returns
    -------
    bool
        Whether it has a dataset_description.json and a folder of a subject.
    """
    return (folder / DESCRIPTION).is_file() and any(p.is_dir() for p in folder.glob("sub-*"))


def parsed(path: Path) -> BidsImage | None:
    """Read the name of a file.

    Parameters
    ----------
    path : Path
        A file.

    Returns
    -------
    BidsImage or None
        Its entities and suffix; None if the name is not that of a NIfTI file of BIDS.
    """
    end = next((e for e in _ENDS if path.name.endswith(e)), None)
    if end is None:
        return None
    *parts, suffix = path.name.removesuffix(end).split("_")
    found = [_ENTITY.fullmatch(part) for part in parts]
    if not parts or None in found or not re.fullmatch(r"[0-9A-Za-z]+", suffix):
        return None
    entities = {m[1]: m[2] for m in found if m is not None}
    if len(entities) < len(parts) or "sub" not in entities:
        return None
    return BidsImage(path, entities, suffix)


def read_bids(folder: Path, suffix: str | None = None) -> tuple[BidsImage, ...]:
    """List the images of one kind. No image is opened.

    Derivatives and source data are left out.

    Parameters
    ----------
    folder : Path
        The folder of the dataset.
    suffix : str or None, default None
        The kind, such as "T1w". None: the only kind that the dataset has.

    Returns
    -------
    tuple[BidsImage, ...]
        The images, in the order of their names.

    Raises
    ------
    InputError
        If the dataset has no such image, or several kinds and none was named.
    """
    files = (
        path
        for subject in sorted(folder.glob("sub-*"))
        if subject.is_dir()
        for path in sorted(subject.rglob("*.nii*"))
    )
    found = [image for path in files if (image := parsed(path)) and _in_its_place(image, folder)]
    kinds = sorted({image.suffix for image in found} - set(_NO_IMAGES))
    if suffix is None:
        if len(kinds) > 1:
            raise InputError(
                f"{folder} holds images of the kinds {', '.join(kinds)}; name one of them by"
                " --suffix"
            )
        suffix = kinds[0] if kinds else None
    chosen = tuple(image for image in found if image.suffix == suffix)
    if not chosen:
        has = f"it has {', '.join(kinds)}" if kinds else "it has none at all"
        raise InputError(f"{folder} holds no NIfTI image of the kind {suffix or 'T1w'}; {has}")
    return chosen


def _in_its_place(image: BidsImage, folder: Path) -> bool:
    """Whether the folders above a file are those that its name asks for."""
    return image.path.parent == folder / image.folder
