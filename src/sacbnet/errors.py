"""The errors that a user can meet.

The message of each error states the value seen, what was expected, and the remedy, in one sentence.

Every class carries the exit code of the command line (docs/reference/command-line.md lists them).
"""

from __future__ import annotations

_LONGEST = 300  # letters of a message
_LONGEST_WORD = 90  # letters of a path or value in a message that is too long
# Values of a damaged file may hold line breaks, and codes that a terminal would obey
_CONTROL = dict.fromkeys((*range(32), *range(127, 160)), "?") | dict.fromkeys(
    map(ord, "\t\n\r"), " "
)


class SacbnetError(Exception):
    """Anything that went wrong for a reason the user can act on.

    A message longer than 300 letters is shortened: first the long words, such as paths and values
    of a damaged file, then the middle of the message. Control characters, which may come from a
    damaged file, are replaced: a message is one line.
    """

    exit_code = 1

    def __str__(self) -> str:
        return shortened(super().__str__().translate(_CONTROL))


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Shorten a sentence so that its start and its end stay.

    Parameters
    ----------
    text : str
        A sentence.
    longest : int, default 300
        The largest number of letters.

    Returns
    -------
    str
        The sentence itself if it is short enough; else the sentence with "..." where letters were
        removed.

    Examples
    --------
    >>> shortened("the header holds " + "9" * 500 + "; a number was expected", 100)
    'the header holds 9999999999999999999999999...99999999999999999999; a number was expected'
    """
    if len(text) <= longest:
        return text
    word = min(_LONGEST_WORD, longest // 2)
    parts = text.split(" ")
    text = " ".join(p if len(p) <= word else _without_middle(p, word) for p in parts)
    return text if len(text) <= longest else _without_middle(text, longest)


def _without_middle(text: str, length: int) -> str:
    end = (length - 3) * 2 // 5
    return f"{text[: length - 3 - end]}...{text[len(text) - end :]}"


class InputError(SacbnetError):
    """An input file or value cannot be used: missing, truncated, constant, not finite and so on."""

    exit_code = 3


class GridError(InputError):
    """Two things that must share a grid do not, or a grid's affine cannot be used."""


class WeightsError(SacbnetError):
    """Weights that are missing, damaged, or of another architecture."""

    exit_code = 4


class OutputError(SacbnetError):
    """A result could not be written (folder not writable, disk full); no partial file remains."""

    exit_code = 5


class MemoryShortageError(SacbnetError, MemoryError):
    """The memory that is left is not enough for the work; nothing was begun."""


class RegistrationError(SacbnetError):
    """The registration ended worse than it started, or not finite; nothing is written."""

    exit_code = 6
