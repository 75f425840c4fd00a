"""One template for each subject: several time points of one person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sacbnet.cohort.members import Member, plain
from sacbnet.errors import InputError


def by_subject(members: Sequence[Member], source: Path) -> dict[str, tuple[Member, ...]]:
    """Sort images by the subject whose they are.

    Parameters
    ----------
    members : sequence of Member
        The images.
    source : Path
        Where they come from, for messages.

    Returns
    -------
    dict[str, tuple[Member, ...]]
        The images of each subject, in their order, by a name that a folder can have.

    Raises
    ------
    InputError
        If an image has no subject, or no subject has two images.
    """
    found: dict[str, list[Member]] = {}
    for member in members:
        if not member.subject:
            raise InputError(
                f"{source} does not say whose image {member.name} is; a BIDS dataset, or the column"
                " subject in a CSV, was expected for --within-subject"
            )
        found.setdefault(plain(member.subject), []).append(member)
    if all(len(group) < 2 for group in found.values()):
        raise InputError(
            f"{source} has one image of each of its {len(found)} subjects; two time points of a"
            " subject at least were expected for --within-subject"
        )
    return {name: tuple(group) for name, group in found.items()}
