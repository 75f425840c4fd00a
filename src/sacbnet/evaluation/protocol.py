"""Which pairs and labels are scored, and where that choice came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sacbnet.config.choices import Alignment, Pairing
from sacbnet.config.recipe import DataOptions
from sacbnet.data.cases import Case, chosen_by, pair_up, select, spread
from sacbnet.data.source import read_cases
from sacbnet.errors import InputError

THE_DATA = "the data"


@dataclass(frozen=True)
class Protocol:
    """Which pairs of a set are scored, and on which labels.

    Parameters
    ----------
    subset : str, default ""
        Cases by name or number (`cases.select`); "": all.
    pairing : {"all", "cyclic", "atlas", "listed"} or None, default None
        Which pairs of them. None: those that the source lists; a source that lists none is paired
        cyclically, each case with the next.
    atlas : str, default ""
        The moving case of pairing "atlas".
    labels : tuple[int, ...], default ()
        Labels that are scored; (): all that either map of a pair has.
    align : {"header", "centre"}, default "header"
        How images come together before all else.
    origin : str, default "the data"
        Where the subset and the pairing came from, for messages.
    """

    subset: str = ""
    pairing: Pairing | None = None
    atlas: str = ""
    labels: tuple[int, ...] = ()
    align: Alignment = "header"
    origin: str = THE_DATA

    @classmethod
    def of(cls, data: DataOptions, origin: str) -> Protocol:
        """Take the validation pairs of a recipe.

        Parameters
        ----------
        data : DataOptions
            The recipe's options on data.
        origin : str
            The recipe, for messages.

        Returns
        -------
        Protocol
            Its validation pairs and labels.
        """
        return cls(
            data.validation,
            data.validation_pairs,
            data.atlas,
            data.labels,
            data.align,
            origin,
        )


def pairs_to_score(
    source: Path, protocol: Protocol, limit: int = 0
) -> tuple[tuple[Case, ...], tuple[tuple[int, int], ...]]:
    """Find the pairs of a source that are scored.

    Parameters
    ----------
    source : Path
        What `cases.read_cases` reads.
    protocol : Protocol
        Which pairs.
    limit : int, default 0
        At most so many pairs, spread over all; 0: all.

    Returns
    -------
    cases : tuple[Case, ...]
        All cases of the source.
    pairs : tuple[tuple[int, int], ...]
        Pairs (moving, fixed), as indices of the cases.

    Raises
    ------
    InputError
        If the source is a pack, or the protocol names no pair of it; the message says where the
        subset came from.
    """
    if source.suffix == ".pack":
        raise InputError(
            f"{source} is a pack, which is for training; give the images it was made of: they are"
            " scored"
        )
    found = read_cases(source)
    how = protocol.pairing or ("listed" if found.pairs else "cyclic")
    with chosen_by(protocol.origin):
        which = select(found.cases, protocol.subset)
        pairs = pair_up(found.cases, which, how, atlas=protocol.atlas, listed=found.pairs)
    return found.cases, spread(pairs, limit)
