"""sacbnet view."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from sacbnet.reporting.viewer.server import Server


@pytest.fixture
def visited(monkeypatch) -> Iterator[list[tuple[int, bytes]]]:
    """Answers that a visitor got before pressing Ctrl-C."""
    answers: list[tuple[int, bytes]] = []
    serve = Server.serve_forever

    def visit(server: Server) -> None:
        try:
            for name in ("", "scene.json", "first.nii"):
                connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
                connection.request("GET", f"/{server.token}/{name}")
                answer = connection.getresponse()
                answers.append((answer.status, answer.read()))
                connection.close()
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    def serve_forever(server: Server, poll_interval: float = 0.01) -> None:
        threading.Thread(target=visit, args=(server,), daemon=True).start()
        serve(server, poll_interval)

    monkeypatch.setattr(Server, "serve_forever", serve_forever)
    # a shell starts jobs in the background with SIGINT ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield answers
    signal.signal(signal.SIGINT, before)


def test_two_images_until_ctrl_c(sacbnet, files, visited) -> None:
    done = sacbnet("view", files["fixed"], files["aligned"], "--no-browser")
    assert done.code == 0
    url = urlsplit(done.out.strip())
    assert (url.scheme, url.hostname) == ("http", "127.0.0.1")
    assert done.out.count("\n") == 1  # the address alone
    assert done.err.endswith("Ctrl-C ends the viewer.\nclosed\n")
    assert [status for status, _ in visited] == [200, 200, 200]
    assert b"fixed.nii.gz and aligned.nii.gz" in visited[0][1]


def test_a_result_with_labels_on_a_port(sacbnet, result, files, visited, monkeypatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("BROWSER", raising=False)
    with Server({}, lambda on, at: {}) as other:
        port = other.server_port
    labels = f"--labels={files['fixed_labels']}"
    done = sacbnet("view", result, labels, f"--port={port}")
    assert done.code == 0
    assert urlsplit(done.out.strip()).port == port
    assert "no browser was found" in done.err
    assert "note: The fixed image" in done.err
    assert b"labels0.bin" in visited[1][1]


@pytest.mark.parametrize("count", [3, 2])
def test_what_does_not_fit_together_is_refused(sacbnet, files, count) -> None:
    more = [f"--fixed={files['fixed']}"] if count == 2 else []
    done = sacbnet("view", *[files["fixed"]] * count, *more)
    assert done.code == 2
    assert f"{count} files were given" in done.sentence()


def test_a_single_image_is_no_result(sacbnet, files) -> None:
    done = sacbnet("view", files["fixed"], "--no-browser")
    assert done.code == 3
    assert "the output folder of sacbnet register was expected" in done.sentence()
