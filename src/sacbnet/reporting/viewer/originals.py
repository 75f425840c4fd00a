"""The images that a result came from: found again by their names and hashes in run.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.io.images import load_image
from sacbnet.io.voxels import Kind
from sacbnet.registration.inputs import hash_of
from sacbnet.registration.report import ImageFacts

_NO_FILE = "array"  # the name of an image that came from no file


@dataclass(frozen=True, eq=False)
class Original:
    """An image that went into a registration, or the reason why it is not shown.

    Parameters
    ----------
    image : Image or None
        The image; None if it was not found.
    missing : str, default ""
        A sentence on why there is no image.
    """

    image: Image | None
    missing: str = ""


def find_original(
    what: str, facts: ImageFacts, folder: Path, given: Path | None = None, kind: Kind = "image"
) -> Original:
    """Read an image that went into a registration.

    Its file must still be the one that was registered: another image would be shown under a
    wrong name. Its name is taken from the current folder, then from the folder of the result.

    Parameters
    ----------
    what : str
        What the image is, for the sentence: "fixed image".
    facts : ImageFacts
        Its name and hash.
    folder : Path
        The folder of the result.
    given : Path or None, default None
        Where the user says that the image is now.
    kind : {"image", "labels", "mask"}, default "image"
        What the file holds.

    Returns
    -------
    Original
        The image, or why there is none.

    Raises
    ------
    InputError
        If the file that the user gives cannot be read, or is not the one that was registered.
    """
    if given is not None:
        image = load_image(given, kind)
        if not _is_the_same(given, image, facts, kind):
            raise InputError(
                f"{given} is not the {what} of {folder}: its hash differs from that in run.json;"
                " give the file that was registered"
            )
        return Original(image)
    if facts.name == _NO_FILE:
        return Original(None, f"The {what} came from memory, so it cannot be shown.")
    places = dict.fromkeys((Path(facts.name), folder / facts.name))
    found = [path for path in places if path.exists()]
    if not found:
        return Original(None, f"The {what} is not at {facts.name}, so it is not shown.")
    for path in found:
        try:
            image = load_image(path, kind)
        except InputError as error:
            return Original(None, f"The {what} is not shown: {error}.")
        if _is_the_same(path, image, facts, kind):
            return Original(image)
    told = f"{found[0]} has changed since the registration, so the {what} is not shown."
    return Original(None, told)


def _is_the_same(path: Path, image: Image, facts: ImageFacts, kind: Kind) -> bool:
    """By the hash; accounts of before hashes were kept, by the grid."""
    if facts.sha256:
        return hash_of(path, image, kind) == facts.sha256
    return image.grid.matches(facts.grid)
