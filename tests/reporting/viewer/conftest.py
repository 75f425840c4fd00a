"""A result whose images are files, and a headless Chromium driven through its debugging pipe."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
from PIL import Image as Pillow

import sacbnet
from sacbnet.registration.result import Registration
from sacbnet.reporting.viewer.scene import Scene, scene_of_result

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-first-run",
    "--mute-audio",
    "--remote-debugging-pipe",
)


def chromium() -> str | None:
    """The path of a Chromium on this machine."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of a headless Chromium. `errors` are what its console and its log complained of."""

    def __init__(self, width: int = 1280, height: int = 900, *flags: str) -> None:
        program = chromium()
        assert program is not None
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs_in, theirs_out)]
        nothing = os.open(os.devnull, os.O_RDWR)
        dup = os.POSIX_SPAWN_DUP2
        size = f"--window-size={width},{height}"
        arguments = [program, *_FLAGS, size, f"--user-data-dir={self._home.name}", *flags]
        self._process = os.posix_spawn(
            program,
            [*arguments, "about:blank"],
            {**os.environ, "HOME": self._home.name},
            file_actions=[
                (dup, high[0], 3),
                (dup, high[1], 4),
                (dup, nothing, 1),
                (dup, nothing, 2),
            ],
            setpgroup=0,
        )
        for fd in (*high, nothing, theirs_in, theirs_out):
            os.close(fd)
        self._in, self._out, self._rest, self._count = ours_in, ours_out, b"", 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")
        attached = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    _session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._out)
        os.close(self._in)
        os.killpg(self._process, signal.SIGKILL)  # its own group: posix_spawn made it
        os.waitpid(self._process, 0)
        self._home.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, to the page."""
        return self._call(method, self._session, **parameters)

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        asked = {"id": self._count, "method": method, "params": parameters}
        if session:
            asked["sessionId"] = session
        os.write(self._out, json.dumps(asked).encode() + b"\0")
        while True:
            said = self._receive(120)
            if said.get("id") == self._count:
                assert "error" not in said, (method, said)
                found: dict[str, Any] = said["result"]
                return found

    def _receive(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(end - time.monotonic(), 0))
            if not ready:
                raise TimeoutError("Chromium does not answer")
            data = os.read(self._in, 1 << 20)
            if not data:
                raise ConnectionError("Chromium has ended")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        self._note(said)
        return said

    def _note(self, said: dict[str, Any]) -> None:
        facts = said.get("params", {})
        match said.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(str(facts["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if facts["type"] in ("error", "warning", "assert"):
                self.errors.append(str([x.get("value") for x in facts["args"]]))
            case "Log.entryAdded" if facts["entry"]["level"] in ("error", "warning"):
                self.errors.append(str(facts["entry"]["text"]))
            case "Network.requestWillBeSent":
                self.requests.append(facts["request"]["url"])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 120) -> Any:
        """The value of an expression once it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := self.evaluate(script):
                return found
            time.sleep(0.05)
        raise TimeoutError(f"{script} never became true; errors: {self.errors}")

    def click(self, x: float, y: float) -> None:
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def box(self, element: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element on the screen, after it was scrolled there."""
        script = """(element => {
            element.scrollIntoView();
            const box = element.getBoundingClientRect();
            return [box.x, box.y, box.width, box.height];
        })(document.getElementById("%s"))"""
        x, y, width, height = self.evaluate(script % element)
        return x, y, width, height

    def colours(self, element: str) -> int:
        """The number of different colours that an element shows."""
        x, y, width, height = (round(v) for v in self.box(element))
        self.wait("new Promise(requestAnimationFrame)")
        picture = Pillow.open(io.BytesIO(self.picture())).convert("RGB")
        part = picture.crop((x, y, x + width, min(y + height, picture.height)))
        return len(part.getcolors(part.width * part.height))

    def picture(self) -> bytes:
        """What is on the screen, as a PNG file."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


@pytest.fixture(scope="session")
def from_files(files: Mapping[str, Path]) -> Registration:
    """The small pair from its files, with labels and the map of the expected error."""
    return sacbnet.register(
        fixed=files["fixed"],
        moving=files["moving"],
        fixed_labels=files["fixed_labels"],
        moving_labels=files["moving_labels"],
        weights="none",
        refine=2,
        save=("uncertainty",),
    )


@pytest.fixture(scope="session")
def folder(from_files: Registration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `from_files` was saved; only to be read."""
    folder = tmp_path_factory.mktemp("shown")
    from_files.save(folder)
    return folder


@pytest.fixture(scope="session")
def scene(folder: Path) -> Scene:
    """What the viewer shows of that folder."""
    return scene_of_result(folder)


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser; without one the test is skipped."""
    if chromium() is None:
        pytest.skip("there is no Chromium on this machine")
    with Browser(640, 560) as found:  # few pixels: they are drawn without a graphics card
        yield found
