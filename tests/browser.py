"""A page in headless Chromium, with keys pressed and files saved, by the DevTools protocol."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_NAMES = {"ArrowLeft": 37, "ArrowRight": 39, "Backspace": 8, "Delete": 46, "Enter": 13, "Escape": 27, "End": 35}


class Page:
    """An open page.

    Attributes:
        downloads: The folder that it saves to.
        address: Its URL.
    """

    def __init__(self, connection: Any, downloads: Path, address: str) -> None:
        self._connection, self._number = connection, 0
        self.downloads, self.address = downloads, address

    def call(self, method: str, **parameters: Any) -> Any:
        """A method of the protocol, and its result."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._connection.recv(timeout=60))
            if said.get("id") == self._number:
                assert "error" not in said, said
                return said["result"]

    def value(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait(self) -> None:
        """Wait until the page is there and its scripts have run."""
        ready = (
            "location.protocol == 'file:' && document.readyState == 'complete' && document.body.innerText.length > 0"
        )
        for _ in range(200):
            if self.value(ready):
                return
            time.sleep(0.1)
        raise AssertionError("the page did not load")

    def press(self, *keys: str, ctrl: bool = False) -> None:
        """Press keys, each by its name or character."""
        for key in keys:
            text = {} if ctrl or len(key) > 1 else {"text": key}
            code = _NAMES.get(key, ord(key.upper()[0]))
            how = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 2 if ctrl else 0}
            self.call("Input.dispatchKeyEvent", type="keyDown", **how, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **how)

    def saved(self, name: str) -> Path:
        """A file that the page saves, when it is there."""
        for _ in range(200):
            found = list(self.downloads.glob(name))
            if found and not list(self.downloads.glob("*.crdownload")):
                return found[0]
            time.sleep(0.1)
        raise AssertionError(f"the page saved no {name}")


@contextmanager
def opened(page: Path, work: Path) -> Iterator[Page]:
    """Open a file in headless Chromium.

    Args:
        page: The HTML file.
        work: Folder for the browser's profile and for what the page saves.
    """
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    from websockets.sync.client import connect

    downloads = work / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"]
    command = [CHROMIUM, *options, f"--user-data-dir={work / 'profile'}", page.as_uri()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            said = next(found for line in process.stderr if (found := re.search(r"ws://([\w.:]+)/", line)))
            from urllib.request import urlopen

            for _ in range(100):
                with urlopen(f"http://{said[1]}/json") as answer:
                    targets = [each for each in json.load(answer) if each["type"] == "page"]
                if targets and targets[0]["url"].startswith("file:"):
                    break
                time.sleep(0.1)
            with connect(targets[0]["webSocketDebuggerUrl"], max_size=None) as connection:
                shown = Page(connection, downloads, page.as_uri())
                shown.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
                shown.wait()
                yield shown
        finally:
            process.terminate()
            process.wait(30)
