"""The errors that a user can meet.

The message of each error states the value seen, what was expected, and the remedy, in one sentence.

Every class carries the exit code of the command line (docs/reference/command-line.md lists them).
"""

from __future__ import annotations


class SacbnetError(Exception):
    """Anything that went wrong for a reason the user can act on."""

    exit_code = 1


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


class RegistrationError(SacbnetError):
    """The registration ended worse than it started, or not finite; nothing is written."""

    exit_code = 6
