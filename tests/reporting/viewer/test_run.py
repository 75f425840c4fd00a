"""The viewer in a browser: pictures come up, and a click gives a displacement."""

from __future__ import annotations

import json
import threading
from urllib.parse import urlsplit

import numpy as np

from sacbnet.reporting.viewer.run import open_viewer


def test_a_click_in_a_browser(scene, from_files, browser) -> None:
    with open_viewer(scene) as viewer:
        threading.Thread(target=viewer.server.serve_forever, daemon=True).start()
        browser.open(viewer.server.first_url)
        browser.wait("['ready', 'failed'].includes(document.body?.dataset.state)", 240)
        assert browser.evaluate("document.body.dataset.state") == "ready", browser.errors
        browser.evaluate(
            "for (const x of ['outlines', 'grid', 'error']) document.getElementById(x).click()"
        )
        before = browser.wait("document.body.dataset.point")
        # the coronal plane, which is the upper left one
        x, y, width, height = browser.box("first-canvas")
        browser.click(x + 0.2 * width, y + 0.3 * height)
        text = browser.wait(
            f"document.body.dataset.point !== {json.dumps(before)} && document.body.dataset.point"
        )
        found = json.loads(text)
        mapped = from_files.transform(np.array([found["first"]["ras"]]))[0]
        assert np.allclose(found["other"]["ras"], mapped, atol=2e-3)
        words = browser.evaluate("document.getElementById('displacement').textContent")
        assert f"{found['displacement']['mm']:.2f} mm" in words
        assert f"Expected error: {found['expected_error_mm']:.2f} mm" in words
        # the pictures are not black: they hold many greys and the colours of the layers
        assert browser.colours("first-canvas") > 200
        assert browser.colours("other-canvas") > 50
        assert browser.errors == []
        hosts = {urlsplit(url).hostname for url in browser.requests if url.startswith("http")}
        assert hosts == {"127.0.0.1"}
        viewer.server.shutdown()


def test_without_a_screen_no_browser_is_started(scene, monkeypatch) -> None:
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    with open_viewer(scene) as viewer:
        assert not viewer.show()
        assert opened == []
        monkeypatch.setenv("DISPLAY", ":0")
        assert viewer.show()
        assert opened == [viewer.server.first_url]
        assert viewer.server.token not in opened[0]


def test_the_port_is_free_again_afterwards(scene) -> None:
    with open_viewer(scene) as viewer:
        number = viewer.server.server_port
    with open_viewer(scene, number) as again:
        assert again.server.server_port == number
