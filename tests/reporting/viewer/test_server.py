"""The server answers only who knows the token, and only from its table."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from sacbnet.errors import InputError, OutputError
from sacbnet.reporting.viewer.files import File
from sacbnet.reporting.viewer.server import Server, same

SECRET = b"the images of a patient"


def _broken() -> bytes:
    raise InputError("the file is damaged; copy it again")


@pytest.fixture
def server() -> Iterator[Server]:
    table = {
        "": File("html", lambda: SECRET),
        "first.nii": File("nii", lambda: SECRET),
        "broken.nii": File("nii", _broken),
    }
    with Server(table, lambda on, at: {"on": on, "at": at}) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def ask(server: Server, path: str, method: str = "GET", host: str | None = "127.0.0.1:1"):
    """Status, headers and body of an answer; the path is sent as it is."""
    named = "" if host is None else f"Host: {host}\r\n"
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as line:
        line.sendall(f"{method} {path} HTTP/1.1\r\n{named}\r\n".encode())
        with http.client.HTTPResponse(line, method=method) as answer:
            answer.begin()
            return answer.status, answer.headers, answer.read()


def test_it_serves_the_table_to_who_knows_the_token(server) -> None:
    for name in ("", "first.nii"):
        status, headers, body = ask(server, f"/{server.token}/{name}")
        assert (status, body) == (200, SECRET)
        assert headers["Cache-Control"] == "no-store"
    assert server.url == f"http://127.0.0.1:{server.server_port}/{server.token}/"
    assert len(server.token) >= 43  # 256 bits


def test_it_listens_on_this_machine_only(server) -> None:
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "path", ["/", "/first.nii", "/x/first.nii", "//first.nii", "/point?on=first&i=1&j=1&k=1"]
)
def test_without_the_token_there_is_nothing(server, path) -> None:
    status, _, body = ask(server, path)
    assert status == 403
    assert SECRET not in body


def test_a_token_that_is_nearly_right_is_wrong(server) -> None:
    token = server.token
    for wrong in (token[:-1], token + "x", token.swapcase(), token[::-1], "é" + token, ""):
        assert ask(server, f"/{wrong}/first.nii")[0] == 403, wrong


def test_secrets_are_compared_in_constant_time(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: asked.append((a, b)) or a == b)
    assert same("abc", "abc")
    assert not same("é\udcff", "abc")
    assert len(asked) == 2


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "127.0.0.1.example.org",
        "localhost.example.org:80",
        "127.0.0.1@example.org",
        "127.0.0.1:80:example.org",
        "127.0.0.1:http",
        "[::1]",
        "10.0.0.1",
        "",
    ],
)
def test_it_answers_to_no_other_name(server, host) -> None:
    """A name server may lend its name to this address (DNS rebinding)."""
    status, _, body = ask(server, f"/{server.token}/first.nii", host=host)
    assert status == 403
    assert SECRET not in body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost:9999", "127.0.0.1:8000"])
def test_it_answers_through_a_tunnel(server, host) -> None:
    assert ask(server, f"/{server.token}/first.nii", host=host)[0] == 200


def test_a_request_without_a_host_or_with_two_is_refused(server) -> None:
    assert ask(server, f"/{server.token}/first.nii", host=None)[0] == 400
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as line:
        hosts = b"Host: 127.0.0.1\r\nHost: example.org\r\n"
        line.sendall(f"GET /{server.token}/first.nii HTTP/1.1\r\n".encode() + hosts + b"\r\n")
        answer = line.makefile("rb").read()
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert SECRET not in answer


@pytest.mark.parametrize(
    "path",
    [
        "../first.nii",
        "../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "./first.nii",
        "first.nii/",
        "first.nii%00.html",
        "static/niivue.js",
        "server.py",
        "FIRST.NII",
        "..\\first.nii",
    ],
)
def test_no_path_leads_out_of_the_table(server, path) -> None:
    status, _, body = ask(server, f"/{server.token}/{path}")
    assert status == 404
    assert body == b"there is no such file\n"


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"]
)
def test_it_only_reads(server, method) -> None:
    status, headers, body = ask(server, f"/{server.token}/first.nii", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert SECRET not in body
    assert ask(server, f"/{server.token}/first.nii", "BREW")[0] == 501


def test_head_gives_the_length_and_no_body(server) -> None:
    status, headers, body = ask(server, f"/{server.token}/first.nii", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(SECRET)), b"")


def test_every_answer_forbids_the_browser_other_hosts(server) -> None:
    asked = [(f"/{server.token}/", "GET"), (f"/{server.token}/no", "GET"), ("/", "GET")]
    for path, method in [*asked, ("/", "POST"), ("/", "BREW")]:
        _, headers, _ = ask(server, path, method)
        policy = dict(part.split(None, 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert "http" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Access-Control-Allow-Origin"] is None
        assert headers["Server"] == "sacbnet "


def test_the_ticket_works_once(server) -> None:
    """The list of processes shows the address with which a browser was started."""
    path = "/" + server.first_url.rpartition("/")[2]
    assert server.token not in server.first_url
    assert ask(server, path, "HEAD")[0] == 403  # which does not use it up
    assert ask(server, path, host="example.org")[0] == 403
    status, headers, _ = ask(server, path)
    assert (status, headers["Location"]) == (303, f"/{server.token}/")
    assert ask(server, path)[0] == 403


def test_an_error_is_one_sentence(server) -> None:
    status, _, body = ask(server, f"/{server.token}/broken.nii")
    assert (status, body) == (500, b"the file is damaged; copy it again\n")


def test_a_click_is_answered(server) -> None:
    status, headers, body = ask(server, f"/{server.token}/point?on=other&i=1.5&j=2&k=-3")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert body == b'{"on": "other", "at": [1.5, 2.0, -3.0]}'


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?on=first",
        "?on=first&i=1&j=2",
        "?on=first&i=1&j=2&k=nan",
        "?on=first&i=1&j=2&k=inf",
        "?on=first&i=1&j=2&k=1e9",
        "?on=first&i=1&j=2&k=x",
        "?on=second&i=1&j=2&k=3",
        "?on=first&i=1&j=2&k=3&l=4",
    ],
)
def test_a_click_that_is_none_is_refused(server, query) -> None:
    assert ask(server, f"/{server.token}/point{query}")[0] == 400


def test_a_port_in_use_is_said(server) -> None:
    with pytest.raises(OutputError, match=r"cannot be opened .* give another --port"):
        Server({}, lambda on, at: {}, server.server_port)
