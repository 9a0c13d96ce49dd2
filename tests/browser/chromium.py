"""A headless Chromium at the end of two pipes: Chrome's own protocol, without a driver, a port or a thread.

Messages are JSON that ends in a zero byte, read on file descriptor 3 and written on 4 (``--remote-debugging-pipe``).
One page is used for all tests: a file follows a file in the same process.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-features=SpareRendererForSitePerProcess,Translate,MediaRouter,OptimizationHints",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-first-run",
)
PATIENCE_S = 30.0

_LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
os.dup2(ends[0], 3), os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserError(Exception):
    """The browser is gone, silent, or refuses a command; or the page threw."""


def find_chromium() -> str | None:
    """Its path: ``CLEFT_CHROMIUM``, or what is installed and starts."""
    for name in (os.environ.get("CLEFT_CHROMIUM", ""), *NAMES):
        path = shutil.which(name) if name else None
        if path and _starts(path):
            return path
    return None


def _starts(path: str) -> bool:
    try:
        return subprocess.run([path, "--version"], capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class Chromium:
    """One browser with one page. Events that come while a command is answered are kept in ``events``."""

    def __init__(self, path: str, home: Path) -> None:
        down, self._write = os.pipe()
        self._read, up = os.pipe()
        command = [path, *FLAGS, f"--user-data-dir={home}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(down), str(up), *command],
            pass_fds=(down, up),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)},
        )
        os.close(down)
        os.close(up)
        self._id = 0
        self._buffer = b""
        self._session: str | None = None
        self._path: Path | None = None
        self.events: list[dict[str, object]] = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        """Take the one page that there is at first."""
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(each for each in targets if each["type"] == "page")  # type: ignore[attr-defined]
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = str(attached["sessionId"])
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        """End the browser with all its processes; it also ends by itself when its pipes do, however this one ended."""
        with contextlib.suppress(BrowserError):
            self._session = None
            self.send("Browser.close")
        os.close(self._write)
        os.close(self._read)
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def send(self, method: str, **parameters: object) -> dict[str, object]:
        """Give a command and wait for its answer.

        Raises:
            BrowserError: it was refused, or no answer came.
        """
        self._id += 1
        message: dict[str, object] = {"id": self._id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        rest = memoryview(json.dumps(message).encode() + b"\0")
        try:
            while rest:
                rest = rest[os.write(self._write, rest) :]
        except BrokenPipeError as error:
            raise BrowserError("the browser is gone") from error
        for answer in self._messages():
            if answer.get("id") == self._id:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]  # type: ignore[return-value]
        raise BrowserError(f"{method} got no answer")

    def wait(self, event: str) -> dict[str, object]:
        """The parameters of the next event of this name, which may have come already."""
        for place, each in enumerate(self.events):
            if each["method"] == event:
                return self.events.pop(place)["params"]  # type: ignore[return-value]
        for message in self._messages():
            if message.get("method") == event:
                self.events.remove(message)
                return message["params"]  # type: ignore[return-value]
        raise BrowserError(f"{event} never came")

    def evaluate(self, expression: str) -> object:
        """The value of a JavaScript expression; a promise is awaited.

        Raises:
            BrowserError: it threw.
        """
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise BrowserError(f"{expression[:100]}: {json.dumps(found['exceptionDetails'])[:600]}")
        return found["result"].get("value")  # type: ignore[attr-defined]

    def call(self, function: str, *arguments: object) -> object:
        """The value of a JavaScript function for JSON arguments."""
        return self.evaluate(f"({function})({','.join(json.dumps(each) for each in arguments)})")

    def text(self, name: str) -> str:
        """What is to be read in an element, by its id."""
        return str(self.call("(id) => document.getElementById(id).innerText", name))

    def open(self, path: Path, *, fragment: str = "") -> None:
        """Load a file, wait until it has drawn."""
        if path == self._path:  # another fragment alone would load nothing
            self.send("Page.navigate", url="about:blank")
            self.wait("Page.loadEventFired")
        self._path = path
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri() + (f"#{fragment}" if fragment else ""))
        self.wait("Page.loadEventFired")
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked of the page is on the screen."""
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def show(self, width: int, height: int, *, dark: bool = False, mobile: bool = False) -> None:
        """Be a screen of this size."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media="", features=[scheme])

    def press(self, key: str, *, code: int = 0) -> None:
        """Press and release a key by its name, such as ``ArrowRight``."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def mouse(self, kind: str, x: float, y: float, *, is_down: bool = False) -> None:
        """A mouse event: ``mousePressed``, ``mouseMoved`` or ``mouseReleased``."""
        self.send(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left" if is_down else "none",
            buttons=int(is_down), clickCount=int(kind != "mouseMoved"),
        )  # fmt: skip

    def screenshot(self, *, is_whole: bool = True) -> bytes:
        """A PNG of the page, all of it or what the screen shows."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        return base64.b64decode(str(shot["data"]))

    def _messages(self) -> Iterator[dict[str, object]]:
        """Messages as they come; events are kept as well."""
        deadline_s = time.monotonic() + PATIENCE_S
        while (left_s := deadline_s - time.monotonic()) > 0:
            text, zero, rest = self._buffer.partition(b"\0")
            if zero:
                self._buffer = rest
                message = json.loads(text)
                if "method" in message:
                    self.events.append(message)
                yield message
                continue
            if not select.select([self._read], [], [], left_s)[0]:
                break
            if not (read := os.read(self._read, 1 << 20)):
                raise BrowserError("the browser is gone")
            self._buffer += read
