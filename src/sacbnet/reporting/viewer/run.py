"""Start the viewer, open a browser, and serve until the user ends it."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

from .files import table_of
from .point import Where, point
from .scene import Scene
from .server import Server


@dataclass(frozen=True)
class Viewer:
    """A server that listens.

    Parameters
    ----------
    server : Server
        The server.
    """

    server: Server

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return self.server.url

    def show(self) -> bool:
        """Open the page in a browser.

        Returns
        -------
        bool
            Whether there is a browser. One that takes over the terminal does not count.
        """
        screen = os.name == "nt" or sys.platform == "darwin"
        if not (screen or {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"} & os.environ.keys()):
            return False
        return webbrowser.open(self.server.first_url)

    def serve(self) -> None:
        """Answer requests until Ctrl-C."""
        with suppress(KeyboardInterrupt):
            self.server.serve_forever()


@contextmanager
def open_viewer(scene: Scene, port: int = 0) -> Iterator[Viewer]:
    """Listen for one browser on this machine.

    Parameters
    ----------
    scene : Scene
        What is shown.
    port : int, default 0
        The port; 0: any that is free.

    Yields
    ------
    Viewer
        The server; it is closed at the end.

    Raises
    ------
    OutputError
        If the port cannot be opened.
    """

    def answer(on: str, at: tuple[float, float, float]) -> dict[str, Any]:
        return point(scene, cast(Where, on), at)

    with Server(table_of(scene), answer, port) as server:
        yield Viewer(server)
