"""HTML from Python values. Every text is escaped, unless `element` itself made it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_VOID = {"img", "input", "br", "meta", "link"}  # elements without an end tag


class Html(str):
    """Text that is HTML already. Only `element` and `joined` make it from other texts."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | float | bool | None) -> Html:
    """Make an element of HTML.

    Parameters
    ----------
    tag : str
        Its name.
    *children : str
        What it holds. A text is escaped; `Html` is taken as it is.
    **attributes : str, float, bool or None
        Its attributes. An underscore in the name becomes a hyphen; a last underscore is dropped
        ("class_"). True gives an attribute without value; None and False give none.

    Returns
    -------
    Html
        The element.

    Examples
    --------
    >>> element("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    told = "".join(
        f" {name.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{escape(str(value), quote=True)}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _VOID:
        return Html(f"<{tag}{told}>")
    return Html(f"<{tag}{told}>{joined(children)}</{tag}>")


def joined(parts: Iterable[str], between: str = "") -> Html:
    """Put parts one after the other.

    Parameters
    ----------
    parts : iterable of str
        Texts, which are escaped, and `Html`, which is taken as it is.
    between : str, default ""
        What stands between two parts; it is escaped, too.

    Returns
    -------
    Html
        All of them.
    """
    safe = (part if isinstance(part, Html) else escape(part) for part in parts)
    return Html((between if isinstance(between, Html) else escape(between)).join(safe))


def table(
    head: Iterable[str], rows: Iterable[Iterable[str]], caption: str, *, numbers: bool = True
) -> Html:
    """Make a table whose first column names the rows.

    Parameters
    ----------
    head : iterable of str
        Names of the columns.
    rows : iterable of iterables of str
        The cells, row by row.
    caption : str
        What the table shows.
    numbers : bool, default True
        Whether the cells are numbers, which stand at the right.

    Returns
    -------
    Html
        The table, in a box that scrolls where the screen is narrow.
    """
    # a heading without words would be read aloud as nothing: such a cell is no heading
    first = element("tr", *(element("th", x, scope="col") if x else element("td") for x in head))
    body = [element("tr", *(_cell(n, cell) for n, cell in enumerate(row))) for row in rows]
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", first),
            element("tbody", *body),
            class_="numbers" if numbers else None,
        ),
        class_="wide",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def _cell(n: int, cell: str) -> Html:
    return element("td", cell) if n else element("th", cell, scope="row")
