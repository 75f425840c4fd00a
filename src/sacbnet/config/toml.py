"""TOML files: find one by name, read it within bounds, write it, and override single options."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from sacbnet.errors import InputError

from .validation import cut

# The bounds of a file, all checked before it is parsed: the parser takes minutes over a name of
# 100 000 parts, and overflows the stack where brackets are nested some hundred deep.
MOST_BYTES = 1_000_000
MOST_NESTED = 32
MOST_PARTS = 32  # of a dotted name
MOST_CHARACTERS = 100  # of a name or number without quotes

# Quoted text and comments. Text that is never closed ends with its line, or with the file: so each
# character is looked at once.
_QUOTED = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"{3,5}|\\?\Z)'
    r"|'''.*?(?:'{3,5}|\Z)"
    r'|"(?:\\.|[^"\\\n])*"?'
    r"|'[^'\n]*'?"
    r"|\#[^\n]*",
    re.DOTALL,
)
_LONG = re.compile(rf"[\w+-]{{{MOST_CHARACTERS + 1},}}")
_DOTTED = re.compile(rf"(?<![\w-])(?:[\w-]+[ \t]*\.[ \t]*){{{MOST_PARTS}}}")


def find_toml(name: str, kind: str, places: Sequence[Path]) -> Path:
    """Find the file that a name means: a file of the user's, or one of those in known folders.

    Parameters
    ----------
    name : str
        Path of a file, or the name of a file in `places` without its suffix.
    kind : str
        What the file holds, for messages: "recipe".
    places : sequence of Path
        Folders that hold TOML files; one that does not exist counts as empty.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        Where there is no such file; the message lists the names that are known.
    """
    if os.path.isfile(name):
        return Path(name)
    known = {
        path.stem: path
        for place in places
        if place.is_dir()
        for path in sorted(place.glob("*.toml"))
    }
    if name not in known:
        raise InputError(
            f"the {kind} {name!r} is no file, and none of {', '.join(known) or 'the package'}"
        )
    return known[name]


def read_toml(path: str | Path, kind: str) -> dict[str, Any]:
    """Read a TOML file.

    Parameters
    ----------
    path : str or Path
        The file.
    kind : str
        What the file holds, for messages: "recipe".

    Returns
    -------
    dict
        Its tables.

    Raises
    ------
    InputError
        Where the file cannot be read, is not TOML, or passes the bounds of this module.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if len(getattr(error, "object", b"")) > MOST_BYTES:  # cut within a character
            raise InputError(_too_large(path, kind)) from error
        raise InputError(
            f"the {kind} {path} cannot be read ({error}); give a TOML file, or a name"
        ) from error
    if len(content) > MOST_BYTES:
        raise InputError(_too_large(path, kind))
    try:
        return parse_toml(text)
    except ValueError as error:
        raise InputError(f"the {kind} {path} is no TOML: {error}") from error


def _too_large(path: str | Path, kind: str) -> str:
    return (
        f"the {kind} {path} is larger than {MOST_BYTES} bytes; a TOML file of options was expected"
    )


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML within the bounds of this module.

    Parameters
    ----------
    text : str
        The content of a file.

    Returns
    -------
    dict
        Its tables.

    Raises
    ------
    ValueError
        Where the text is not TOML, or passes a bound. The time is linear in the length of the text.
    """
    bare = _QUOTED.sub("_", text.replace("\r\n", "\n"))
    if found := _LONG.search(bare):
        raise ValueError(
            f"it holds a name or number of {len(found[0])} characters; at most {MOST_CHARACTERS}"
            " were expected"
        )
    if _DOTTED.search(bare):
        raise ValueError(
            f"it holds a dotted name of more than {MOST_PARTS} parts; section.option was expected"
        )
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", bare):
        depth = depth + 1 if bracket in "[{" else max(depth - 1, 0)
        if depth > MOST_NESTED:
            raise ValueError(
                f"its brackets are nested more than {MOST_NESTED} deep; lists of options were"
                " expected"
            )
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("its lists or tables are nested too deep") from error


def write_toml(tree: Mapping[str, Any]) -> str:
    """Write tables as TOML.

    Parameters
    ----------
    tree : mapping
        Nested tables of texts, numbers, booleans and lists.

    Returns
    -------
    str
        The content of a file, each option on one line; `parse_toml` gives the same tables.
    """
    # tomli-w writes one element of a list a line. Its texts hold no line breaks, so a break after
    # "[" or "," is one of these.
    text = re.sub(r",\n *(?=\])|(?<=\[)\n *", "", tomli_w.dumps(tree))
    return re.sub(r",\n *", ", ", text)


def parse_value(text: str) -> Any:
    """Parse one value; text needs no quotes.

    Parameters
    ----------
    text : str
        A value of TOML, or any text.

    Returns
    -------
    object
        The value, or the text itself where it is not TOML.

    Examples
    --------
    >>> parse_value("[1, 2]"), parse_value("ncc")
    ([1, 2], 'ncc')
    """
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def split_override(change: str) -> tuple[str, Any]:
    """Split an override into the path of an option and its value.

    Parameters
    ----------
    change : str
        "section.option=value", the value as in `parse_value`.

    Returns
    -------
    tuple of str and object
        Path and value.

    Raises
    ------
    InputError
        Where the equals sign lacks.
    """
    path, equals, text = change.partition("=")
    if not equals:
        raise InputError(f"--set {cut(change)}: section.option=value was expected")
    return path.strip(), parse_value(text.strip())


def override(tree: dict[str, Any], path: str, value: Any) -> None:
    """Replace one option of nested tables.

    Parameters
    ----------
    tree : dict
        The tables, which hold every option; one of them is changed.
    path : str
        Names of the sections and of the option, joined by dots.
    value : object
        The new value.

    Raises
    ------
    InputError
        Where there is no such option; the message lists the options of that section.
    """
    *sections, option = path.split(".")
    place: Any = tree
    for section in sections:
        place = place.get(section, {}) if isinstance(place, dict) else {}
    if not isinstance(place, dict) or option not in place or isinstance(place[option], dict):
        names = place if isinstance(place, dict) and place else tree
        prefix = sections if names is place else []
        known = ", ".join(".".join([*prefix, name]) for name in names)
        raise InputError(
            f"--set {cut(f'{path}={value}')}: section.option=value was expected, an option of"
            f" {known}"
        )
    place[option] = value


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List the options of nested tables.

    Parameters
    ----------
    tree : mapping
        The tables.
    prefix : str, default ""
        Put before each path.

    Yields
    ------
    tuple of str and object
        Path of an option, and its value.
    """
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
