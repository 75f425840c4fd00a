"""Pairs on one page: a card with picture, verdict and numbers for each, and a table of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from sacbnet.registration.verdict import Word

from .markup import Html, element, joined, table
from .thumbnail import data_uri

MARKS: dict[Word, str] = {"good": "✓", "check": "!", "failed": "✕"}


@dataclass(frozen=True)
class Entry:
    """One pair.

    Parameters
    ----------
    name : str
        What it is called.
    verdict : {"good", "check", "failed"} or None, default None
        Its verdict, where there is one.
    numbers : mapping of str to str, default empty
        Numbers by name, such as "Dice": "0.712". The columns of the table.
    words : str, default ""
        Reasons of the verdict, or why there is no result.
    picture : bytes or None, default None
        A JPEG (`thumbnail.thumbnail`).
    link : str, default ""
        Path of a page with more, relative to this page; "": there is none.
    """

    name: str
    verdict: Word | None = None
    numbers: Mapping[str, str] = field(default_factory=dict)
    words: str = ""
    picture: bytes | None = None
    link: str = ""


def badge(word: Word) -> Html:
    """Show a verdict in one word, with a sign that needs no colour.

    Parameters
    ----------
    word : {"good", "check", "failed"}
        The verdict.

    Returns
    -------
    Html
        The word.
    """
    sign = element("span", MARKS[word], class_="mark", aria_hidden="true")
    return element("span", sign, word, class_=f"badge {word}")


def cards(entries: Sequence[Entry], alt: str = "") -> Html:
    """Lay out pairs as cards, in their order.

    Parameters
    ----------
    entries : sequence of Entry
        The pairs.
    alt : str, default ""
        What the pictures show, in words (`thumbnail.EDGES`).

    Returns
    -------
    Html
        A list.
    """
    return element("ul", *(_card(entry, alt) for entry in entries), class_="cards")


def _card(entry: Entry, alt: str) -> Html:
    parts = [element("h3", _named(entry))]
    if entry.verdict is not None:
        parts.append(element("p", badge(entry.verdict)))
    if entry.picture is not None:
        words = f"{entry.name}. {alt}".strip()
        parts.append(element("img", src=data_uri(entry.picture), alt=words, loading="lazy"))
    if entry.words:
        parts.append(element("p", entry.words))
    told = (
        element("div", element("dt", name), element("dd", value))
        for name, value in entry.numbers.items()
        if value
    )
    parts.append(element("dl", *told))
    return element("li", *parts)


def all_table(entries: Sequence[Entry], caption: str) -> Html:
    """Tabulate pairs, in their order.

    Parameters
    ----------
    entries : sequence of Entry
        The pairs.
    caption : str
        What the table shows.

    Returns
    -------
    Html
        A row for each pair: name, verdict where one of them has one, numbers, words.
    """
    columns = dict.fromkeys(name for entry in entries for name in entry.numbers)
    verdicts = any(entry.verdict is not None for entry in entries)
    words = any(entry.words for entry in entries)
    head = ["pair", *(["verdict"] if verdicts else []), *columns, *(["remark"] if words else [])]
    rows = [
        [
            _named(entry),
            *([badge(entry.verdict) if entry.verdict else ""] if verdicts else []),
            *(entry.numbers.get(name, "") for name in columns),
            *([element("span", entry.words, class_="words")] if words else []),
        ]
        for entry in entries
    ]
    return table(head, rows, caption)


def _named(entry: Entry) -> Html:
    return element("a", entry.name, href=quote(entry.link)) if entry.link else joined([entry.name])
