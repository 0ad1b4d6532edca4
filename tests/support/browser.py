"""A real browser for tests: Debian's Chromium under Selenium, alone with the node under test."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
WAIT_S = 30.0


def installed() -> bool:
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


class Browser:
    """What the tests do with a browser; waiting is on conditions, never on time."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.base = ""

    def open(self, path: str) -> None:
        self.driver.get(self.base + path)

    def size(self, width: int, height: int = 900, *, mobile: bool = False) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile},
        )

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def module(self, name: str, expression: str) -> Any:
        """The value of an expression over ``m``, one of the pages' own modules."""
        script = (
            "const done = arguments[arguments.length - 1];"
            f"import('/static/explorer/{name}').then((m) => done({expression}),"
            " (error) => done('failed: ' + error));"
        )
        return self.driver.execute_async_script(script)

    def text(self, selector: str = "main") -> str:
        """The text that is shown; empty where there is no such element."""
        found = self.js("return document.querySelector(arguments[0])?.innerText ?? ''", selector)
        assert isinstance(found, str)
        return found

    def wait(self, script: str, *arguments: Any, seconds: float = WAIT_S) -> Any:
        """Until the script returns something true; fails with what the page shows."""
        return WebDriverWait(self.driver, seconds, poll_frequency=0.1).until(
            lambda _: self.js(script, *arguments), f"{script} {arguments}\n{self.text('body')}"
        )

    def wait_text(self, text: str, selector: str = "main", *, seconds: float = WAIT_S) -> None:
        script = "return document.querySelector(arguments[0])?.innerText.includes(arguments[1])"
        self.wait(script, selector, text, seconds=seconds)

    def loaded(self) -> None:
        """Until the page shows what it is for."""
        self.wait("return !document.querySelector('main [aria-busy]')")

    def requested(self) -> set[str]:
        """Addresses of all requests and WebSockets since this was last asked."""
        urls = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                urls.add(message["params"]["request"]["url"])
            if message["method"] == "Network.webSocketCreated":
                urls.add(message["params"]["url"])
        return urls

    def complaints(self) -> list[str]:
        """What the console says of mistakes and of broken policy, since last asked."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE"
        ]


def host_of(url: str) -> str:
    return urlsplit(url).netloc


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """One browser with a profile of its own, gone afterwards."""
    profile = tempfile.mkdtemp(prefix="moot-browser-")
    options = Options()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium") or "chromium"
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    service = Service(shutil.which("chromedriver") or "chromedriver")
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_script_timeout(WAIT_S)
        yield Browser(driver)
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)
