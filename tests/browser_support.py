"""A headless Chromium that is driven through a pipe (its DevTools protocol), since a WebGL page is drawn after it has loaded."""

import base64
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BROWSER = shutil.which("chromium")
_QUIET = "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
_SOFTWARE_GL = "--use-angle=swiftshader --enable-unsafe-swiftshader"
_DEADLINE_SECONDS = 60.0


class Tab:
    """The one tab of a browser."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._read, self._number, self._session = b"", 0, None
        self.requests: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command; its result. What the page asks for meanwhile goes to `requests`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            part = os.read(self._answers, 1 << 20)
            assert part, "the browser ended"
            self._read += part
        line, self._read = self._read.split(b"\0", 1)
        return json.loads(line)

    def until(self, expression: str, seconds: float = _DEADLINE_SECONDS) -> Any:
        """The first value of a JavaScript expression that counts as true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            value = self.call("Runtime.evaluate", expression=expression)["result"].get("value")
            if value:
                return value
            # What is waited for so long needs the machine more than this loop does.
            time.sleep(0.05 if seconds <= _DEADLINE_SECONDS else 0.5)
        raise AssertionError(f"{expression} was never true")

    def picture(self) -> np.ndarray:
        """The tab's pixels, (h, w, 3), in [0, 1]."""
        data = base64.b64decode(self.call("Page.captureScreenshot")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) / 255.0


@contextmanager
def browser(profile: Path, width: int, height: int) -> Iterator[Tab]:
    """A browser whose page has a size in pixels."""
    assert BROWSER
    command_end, commands = os.pipe()
    answers, answer_end = os.pipe()
    options = [*_QUIET.split(), *_SOFTWARE_GL.split(), f"--user-data-dir={profile}", "--remote-debugging-pipe"]
    # Chromium reads commands from file 3 and answers to file 4.
    redirect = f'exec "$@" 3<&{command_end} 4>&{answer_end}'
    process = subprocess.Popen(
        ["bash", "-c", redirect, "chromium", BROWSER, "--headless", "--no-sandbox", *options, "about:blank"],
        pass_fds=(command_end, answer_end),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(command_end)
    os.close(answer_end)
    try:
        tab = Tab(commands, answers)
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        yield tab
    finally:
        process.terminate()
        process.wait(20)
        os.close(commands)
        os.close(answers)
