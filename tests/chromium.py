"""Headless Chromium by its debugging pipe: nothing but the standard library, no driver, no port.

The protocol (Chrome DevTools): JSON messages, each ended by a zero byte, on file descriptors 3 (to the browser) and 4.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--remote-debugging-pipe", "--force-color-profile=srgb", "--font-render-hinting=none"),
)


def find():
    """Path of the browser: EDGEFLOWNAS_CHROMIUM, or the first of NAMES on the path; None where there is none."""
    named = os.environ.get("EDGEFLOWNAS_CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One browser with one page at a time; ``problems`` and ``requests`` are of the page that is open."""

    def __init__(self, program):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        out, self._write = os.pipe()
        self._read, back = os.pipe()
        words = [program, *OPTIONS, f"--user-data-dir={self._profile.name}", "about:blank"]

        def place():
            # dup2 to high numbers first: one of the pipes may sit on 3 or 4 itself
            high_out, high_back = os.dup2(out, 100), os.dup2(back, 101)
            os.dup2(high_out, 3)
            os.dup2(high_back, 4)

        self._process = subprocess.Popen(
            words, preexec_fn=place, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(out)
        os.close(back)
        self._number, self._buffer, self._session = 0, b"", ""
        self._target = ""
        self.problems: list[str] = []
        self.requests: list[str] = []

    def __enter__(self):
        return self

    def __exit__(self, kind, error, at):
        try:
            self.call("Browser.close", session="")
        except (RuntimeError, OSError):
            self._process.kill()
        self._process.wait(20)
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def call(self, method, session=None, **parameters):
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is None and self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        wanted = self._number
        while True:
            answer = self._next(60.0)
            if answer.get("id") == wanted:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._event(answer)

    def _next(self, seconds):
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, end - time.monotonic()))[0]:
                raise RuntimeError(f"the browser did not answer within {seconds:g} s")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("the browser is gone")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(text))

    def _event(self, message):
        method, facts = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = facts["exceptionDetails"]
            self.problems.append(str(details.get("exception", {}).get("description") or details.get("text")))
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "warning", "assert"):
            self.problems.append(f"console.{facts['type']}: {facts['args']}")
        elif method == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.problems.append(facts["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])

    def open(self, file, width=1280, height=900, dark=False, scripts=True):
        """Load a file in a page of its own and wait until it is drawn."""
        if self._target:
            self.call("Target.closeTarget", session="", targetId=self._target)
            self._session = ""
        self._target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        self.problems, self.requests = [], []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.resize(width, height)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Page.navigate", url=file.resolve().as_uri())
        end = time.monotonic() + 30.0
        ready = "document.readyState === 'complete'" + (
            " && document.documentElement.dataset.ready === 'yes'" if scripts else ""
        )
        while not self.value(ready):
            if self.problems or time.monotonic() > end:
                raise RuntimeError(f"{file.name} was not drawn: {self.problems}")
            time.sleep(0.05)

    def resize(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def value(self, expression):
        """What a JavaScript expression gives (through JSON)."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def key(self, name):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name)

    def move(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, file, whole=True, top=0, height=None):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        tall = height if height is not None else size["height"] - top
        clip = {"x": 0, "y": top, "width": size["width"], "height": tall, "scale": 1}
        options: dict[str, Any] = {"clip": clip, "captureBeyondViewport": True} if whole else {}
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", **options)["data"]))

    def pdf(self, file):
        file.write_bytes(
            base64.b64decode(self.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])
        )
