"""A real headless browser, driven over its own pipe: no driver program, no port, no package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell")


def browser_program() -> str:
    """Return the browser that `CHROMIUM` names, or the first on the path; skip the test where there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if not found:
        pytest.skip(f"no browser: install one of {', '.join(PROGRAMS)}, or name it in CHROMIUM")
    return found


class Moved(Exception):
    """The tab went to another page before it could answer."""


class Browser:
    """One tab."""

    def __init__(self, heard: RawIOBase, said: RawIOBase, downloads: Path) -> None:
        self._in, self._out = heard, said
        self._sent, self._rest, self._session = 0, b"", ""
        self.told: list[str] = []
        """What the page wrote to the console, broken rules of its policy and errors included."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self._call("Performance.enable", timeDomain="threadTicks")
        self._call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        self.asked: list[str] = []
        """Every address that was fetched."""

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Go to a page and wait until it is loaded."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._call("Emulation.setEmulatedMedia", features=scheme)
        self.run("window.leaving = true")
        loads = "loaderId" in self._call("Page.navigate", url=url)  # another place on the same page loads nothing
        self.wait(f"{'!window.leaving && ' if loads else ''}document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Return what an expression comes to. Fails the test when it raises."""
        found = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 20) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self._is(script):
            assert time.monotonic() < end, script
            time.sleep(0.02)

    def _is(self, script: str) -> bool:
        try:
            return bool(self.run(script))
        except Moved:
            return False

    def click(self, selector: str) -> None:
        """Click, as a mouse would, into the middle of the first line of an element."""
        spot = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); const b = (e.scrollIntoView("
            "{block: 'center'}), e.getClientRects()[0]); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=spot[0], y=spot[1], button="left", clickCount=1)

    def choose(self, name: str, value: str) -> None:
        """Choose in a list, as a person would, and let the page see it."""
        self.run(
            f"(() => {{ const s = document.querySelector('select[name={name}]'); s.value = {json.dumps(value)};"
            "s.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )
        time.sleep(0.1)

    @property
    def worked_s(self) -> float:
        """CPU seconds of the page's main thread, which a busy machine does not stretch as it does the clock."""
        rows = self._call("Performance.getMetrics")["metrics"]
        return float(next(row["value"] for row in rows if row["name"] == "TaskDuration"))

    def shoot(self, path: Path) -> None:
        """Take a picture of what is seen."""
        path.write_bytes(b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def _call(self, method: str, **params: object) -> dict[str, Any]:
        self._sent += 1
        message: dict[str, Any] = {"id": self._sent, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._sent:
                if "navigated" in found.get("error", {}).get("message", ""):
                    raise Moved
                assert "error" not in found, found["error"]
                return dict(found["result"])
            self._note(found)

    def _note(self, event: dict[str, Any]) -> None:
        match event.get("method"):
            case "Log.entryAdded":
                self.told.append(event["params"]["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.told.append(event["params"]["exceptionDetails"]["text"])
            case "Network.requestWillBeSent":
                self.asked.append(event["params"]["request"]["url"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = self._in.read(1 << 20)
            assert piece, "the browser ended"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """Start a browser with a profile of its own in `folder`; what it downloads lands there too."""
    program = browser_program()
    to_browser, ours_out = os.pipe()
    ours_in, from_browser = os.pipe()

    # Chromium speaks on the descriptors 3 and 4, and bash can hand it any as those.
    handed = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
    command = [
        "bash", "-c", handed, program, "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu",
        "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}",
        "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_browser)
    os.close(from_browser)
    with os.fdopen(ours_in, "rb", 0) as heard, os.fdopen(ours_out, "wb", 0) as said:
        try:
            yield Browser(heard, said, folder)
        finally:
            process.terminate()
            process.wait(10)
