"""The frame of every page: one file with its style and its script, and a policy that lets it load
nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

from sacbnet.environment import VERSION

from .markup import Html, element, joined


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Parameters
    ----------
    key : str
        Its name in links.
    title : str
        Its heading.
    parts : tuple of Html
        What it holds.
    """

    key: str
    title: str
    parts: tuple[Html, ...]

    def html(self) -> Html:
        """Lay it out.

        Returns
        -------
        Html
            The section.
        """
        return element("section", element("h2", self.title), *self.parts, id=self.key)


def whole_page(
    title: str,
    subtitle: str,
    first: Sequence[Html],
    sections: Sequence[Section],
    script: str = "",
) -> str:
    """Put a page together.

    Parameters
    ----------
    title, subtitle : str
        Its heading, and a line below it.
    first : sequence of Html
        What stands above the contents.
    sections : sequence of Section
        Its parts; the contents link to them.
    script : str, default ""
        Name of the file of this package with the script of the page; "": the page has none.

    Returns
    -------
    str
        HTML. What UTF-8 cannot hold, such as bytes of a path, is written as an escape.
    """
    code = _file(script) if script else ""
    body = joined(
        [
            element("header", element("h1", title), element("p", subtitle, class_="soft")),
            element(
                "main",
                *first,
                _contents(sections),
                *(section.html() for section in sections),
            ),
        ]
    )
    page = Template(_file("page.html")).substitute(
        title=escape(title),
        version=VERSION,
        style=_file("page.css"),
        script=f"<script>{code}</script>" if code else "",
        script_source=f"'{_hash(code)}'" if code else "'none'",
        body=body,
    )
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """The name of the one script that the page lets run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _contents(sections: Sequence[Section]) -> Html:
    links = [element("a", section.title, href=f"#{section.key}") for section in sections]
    return element(
        "nav", element("ul", *(element("li", link) for link in links)), aria_label="Contents"
    )
