"""The checks of option values; messages name the option, the value seen and what was expected.

Each function takes the options (a dataclass) and, as keywords, the names of the options to check.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from sacbnet.errors import InputError

MOST_SHOWN = 200  # characters of a value in a message; a file may hold a value of any length


class OptionError(InputError):
    """An option has a value that is not valid.

    Parameters
    ----------
    option : str
        Name of the option within its section. `build` puts the name of the section before it.
    value : object
        The value seen.
    expected : str
        What was expected, as a noun phrase: "a whole number".
    """

    def __init__(self, option: str, value: object, expected: str) -> None:
        super().__init__(f"{option} is {shown(value)}; {expected} was expected")
        self.option, self.value, self.expected = option, value, expected


def shown(value: object) -> str:
    """Write a value for a message, cut where it is long.

    Parameters
    ----------
    value : object
        Any value.

    Returns
    -------
    str
        Its ``repr``, of at most 200 characters.
    """
    return cut(repr(value))


def cut(text: str) -> str:
    """Shorten a text for a message.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        The text, of at most 200 characters.
    """
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."


def choices(known: Iterable[object]) -> str:
    """Write a list of choices for a message.

    Parameters
    ----------
    known : iterable
        The choices, in the order in which they are shown.

    Returns
    -------
    str
        The choices, the last two joined by "or".

    Examples
    --------
    >>> choices(("none", "rigid", "affine"))
    'none, rigid or affine'
    """
    words = [str(value) or "''" for value in known]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def one_of(options: object, **known: tuple[object, ...]) -> None:
    """Check that options have one of the values that are known.

    Parameters
    ----------
    options : object
        The dataclass that holds the options.
    **known : tuple
        Name of an option -> the values that it may have.

    Raises
    ------
    OptionError
        For the first option with another value.
    """
    for name, values in known.items():
        if (value := getattr(options, name)) not in values:
            raise OptionError(name, value, choices(values))


def at_least(options: object, **least: float) -> None:
    """Check that numbers are finite and not below a limit.

    Parameters
    ----------
    options : object
        The dataclass that holds the options. An option may be a number or a tuple of numbers.
    **least : float
        Name of an option -> the smallest number that it may have.

    Raises
    ------
    OptionError
        For the first option with a number below its limit, infinite or not a number.
    """
    for name, low in least.items():
        value = getattr(options, name)
        numbers = value if isinstance(value, tuple) else (value,)
        if all(low <= number < inf for number in numbers):
            continue
        whole = "whole " if all(isinstance(number, int) for number in numbers) else ""
        kind = f"{whole}numbers" if isinstance(value, tuple) else f"a {whole}number"
        raise OptionError(name, value, f"{kind} of at least {low}")


def between(options: object, **limits: tuple[float, float]) -> None:
    """Check that numbers lie in an interval, both ends included.

    Parameters
    ----------
    options : object
        The dataclass that holds the options.
    **limits : tuple of two floats
        Name of an option -> the smallest and the largest number that it may have.

    Raises
    ------
    OptionError
        For the first option with a number outside its interval.
    """
    for name, (low, high) in limits.items():
        if not low <= (value := getattr(options, name)) <= high:
            raise OptionError(name, value, f"a number from {low} to {high}")
