"""A headless Chromium driven by its own protocol over a pipe: no driver, no network, no package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)


class Browser:
    """One page. Commands go to the browser's descriptor 3 and answers come from 4, JSON ended by a zero byte."""

    def __init__(self, profile: Path) -> None:
        assert PROGRAM is not None
        read, self.commands = os.pipe()
        self.answers, write = os.pipe()

        def place() -> None:
            high = [os.dup(read), os.dup(write)]  # neither end may be 3 or 4 when those are written over
            os.dup2(high[0] if high[0] > 4 else os.dup(high[0]), 3)
            os.dup2(high[1] if high[1] > 4 else os.dup(high[1]), 4)

        self.process = subprocess.Popen(
            [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=place,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(profile)},
        )
        os.close(read)
        os.close(write)
        self.number = 0
        self.rest = b""
        self.session: str | None = None
        targets = self("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self.session = self("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        self("Page.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.session = None
        try:
            self("Browser.close")
            self.process.wait(10)
        except (OSError, EOFError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.commands)
        os.close(self.answers)

    def __call__(self, method: str, **params: Any) -> Any:
        """The result of one command of the DevTools protocol."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            piece = os.read(self.answers, 1 << 16)
            if not piece:
                raise EOFError("chromium has ended")
            self.rest += piece
        message, _, self.rest = self.rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def open(self, path: Path, width: int, height: int = 800, *, scheme: str = "light", media: str = "screen") -> None:
        """Load a file for a screen that wide, light or dark, or as paper, and wait until it is laid out."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self("Emulation.setEmulatedMedia", media=media, features=[feature])
        self("Page.navigate", url=path.as_uri())
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives in the page: the tester's, for the page has none."""
        found = self("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def settle(self) -> None:
        """Wait for two frames, and for what scrolls smoothly."""
        wait = "new Promise(done => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 150))"
        self("Runtime.evaluate", expression=wait, awaitPromise=True)

    def press(self, key: str) -> None:
        """A key down and up, say ``"Tab"``."""
        codes = {"Tab": 9, "Enter": 13, "ArrowRight": 39}
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **text)

    def picture(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def pdf(self) -> bytes:
        """The page as it would be printed."""
        return base64.b64decode(self("Page.printToPDF", printBackground=False)["data"])
