"""A server for one browser on the same machine: it answers only what it must.

Whoever asks must know a random token, which is part of the address. Another page in the same
browser, another user of the machine, and a name server that lends its name to 127.0.0.1 do not
know it. The server has a table of files and looks up names in it; no path reaches the disk.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl

from typing_extensions import override

from sacbnet.errors import OutputError, SacbnetError

from .files import File

ADDRESS = "127.0.0.1"
# A tunnel may end at another port, so the port may be any. Nobody else can own these two names.
_HOSTS = (ADDRESS, "localhost")
POINT = "point"
_LONGEST_NUMBER = 1e6  # voxels
_SLOW_SECONDS = 900  # a browser that draws without a graphics card fetches its next image late
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline';"
        " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",  # images of patients do not stay in a cache
}
Answer = Callable[[str, tuple[float, float, float]], dict[str, Any]]


class Refusal(Exception):
    """A request that is not answered.

    Parameters
    ----------
    status : HTTPStatus
        The code of the answer.
    sentence : str
        The reason.
    """

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serve a table of files, and the answer to clicks, on 127.0.0.1.

    Parameters
    ----------
    table : mapping of str to File
        What is served, by name.
    answer : callable (str, (float, float, float)) -> dict
        What a click on an image at a voxel shows.
    port : int, default 0
        The port; 0: any that is free.

    Raises
    ------
    OutputError
        If the port cannot be opened.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, table: Mapping[str, File], answer: Answer, port: int = 0) -> None:
        self.table = table
        self.answer = answer
        self.token = secrets.token_urlsafe(32)
        self._ticket: str | None = secrets.token_urlsafe(32)
        self._lock = Lock()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise OutputError(
                f"the port {port} of this machine cannot be opened ({error.strerror}); give another"
                " --port, or none"
            ) from error

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    @property
    def first_url(self) -> str:
        """An address that works once, and leads to the page.

        The list of processes shows the address with which a browser is started to every user of
        the machine. The token must not be in it.
        """
        return f"http://{ADDRESS}:{self.server_port}/{self._ticket}"

    def takes_ticket(self, text: str) -> bool:
        """Accept a ticket once.

        Parameters
        ----------
        text : str
            What was sent.

        Returns
        -------
        bool
            Whether it is the ticket, for the first time.
        """
        with self._lock:
            if self._ticket is None or not same(text, self._ticket):
                return False
            self._ticket = None
            return True

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def same(text: str, secret: str) -> bool:
    """Compare a text with a secret in a time that does not depend on the text.

    Parameters
    ----------
    text, secret : str
        The two.

    Returns
    -------
    bool
        Whether they are equal.
    """
    return hmac.compare_digest(text.encode("utf-8", "replace"), secret.encode())


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "sacbnet", ""
    timeout = 30  # seconds that a client may take to say what it wants

    def do_GET(self) -> None:
        self._respond()

    def do_HEAD(self) -> None:
        self._respond()

    def _refuse(self) -> None:
        self._send(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"only GET and HEAD are answered\n")

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _respond(self) -> None:
        try:
            self._check_host()
            path, _, query = self.path.partition("?")
            token, name = self._split(path)
            if name is None:
                self._enter(token)
            elif not same(token, self.server.token):
                raise Refusal(HTTPStatus.FORBIDDEN, "the token is missing or wrong")
            elif name == POINT:
                found = self.server.answer(*_asked(query))
                self._send(HTTPStatus.OK, "application/json", json.dumps(found).encode())
            elif (file := self.server.table.get(name)) is not None:
                self._send(HTTPStatus.OK, file.type, file.read())
            else:
                raise Refusal(HTTPStatus.NOT_FOUND, "there is no such file")
        except Refusal as refusal:
            self._send(refusal.status, "text/plain; charset=utf-8", f"{refusal}\n".encode())
        except SacbnetError as error:
            self._send(
                HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", f"{error}\n".encode()
            )

    def _check_host(self) -> None:
        given = self.headers.get_all("Host") or []
        if len(given) != 1:
            raise Refusal(HTTPStatus.BAD_REQUEST, "one header Host was expected")
        host, _, port = given[0].strip().lower().partition(":")
        if host not in _HOSTS or not (port == "" or (port.isascii() and port.isdigit())):
            raise Refusal(HTTPStatus.FORBIDDEN, "this server answers only as 127.0.0.1")

    def _split(self, path: str) -> tuple[str, str | None]:
        """Token and name. Names are not decoded: none of the table needs it."""
        first, *parts = path.split("/")
        if first or not parts:
            raise Refusal(HTTPStatus.FORBIDDEN, "the token is missing or wrong")
        if len(parts) == 1:
            return parts[0], None
        return parts[0], "/".join(parts[1:])

    def _enter(self, ticket: str) -> None:
        if self.command != "GET" or not self.server.takes_ticket(ticket):
            raise Refusal(HTTPStatus.FORBIDDEN, "the token is missing or wrong")
        self._send(HTTPStatus.SEE_OTHER, "text/plain", b"", {"Location": f"/{self.server.token}/"})

    def _send(
        self, status: HTTPStatus, kind: str, data: bytes, more: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.connection.settimeout(_SLOW_SECONDS)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @override
    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: each line would hold the token."""


def _asked(query: str) -> tuple[str, tuple[float, float, float]]:
    """The image and the voxel of a click."""
    try:
        given = dict(parse_qsl(query, strict_parsing=True, max_num_fields=4))
        at = tuple(float(given[axis]) for axis in "ijk")
        on = given["on"]
    except (KeyError, ValueError) as error:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "on, i, j and k were expected: an image and a voxel"
        ) from error
    if on not in ("first", "other") or not all(abs(x) <= _LONGEST_NUMBER for x in at):
        raise Refusal(HTTPStatus.BAD_REQUEST, "on must be first or other, and i, j, k a voxel")
    return on, (at[0], at[1], at[2])
