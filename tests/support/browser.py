"""A headless Chromium for tests of pages: opened from disk, without a network, with what it says and asks for kept."""

import base64
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

BROWSER, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"


class Page:
    """One window of a browser that lives as long as the test."""

    def __init__(self, driver: webdriver.Chrome):
        self.driver = driver

    def command(self, name: str, **words):
        """Of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, words)

    def ask(self, script: str, *words):
        """What a function body returns in the page."""
        return self.driver.execute_script(script, *words)

    def wait(self, script: str, *words, seconds: float = 5) -> None:
        """Until a function body returns true."""
        WebDriverWait(self.driver, seconds, 0.05).until(lambda driver: driver.execute_script(script, *words))

    def resize(self, width: int, height: int = 800, scale: float = 1, mobile: bool = False) -> None:
        """The page's own size in CSS pixels, which a window's may not reach."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile)

    def emulate(self, media: str = "", scheme: str = "light") -> None:
        """media: screen or print; scheme: light or dark, as the user prefers."""
        self.command("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, path: Path) -> None:
        self.driver.get(path.resolve().as_uri())

    def complaints(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"]

    def screenshot(self, path: Path, whole: bool = False) -> Path:
        """What the window shows, or the whole page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        found = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **({"clip": self.extent()} if whole else {}))
        path.write_bytes(base64.b64decode(found["data"]))
        return path

    def extent(self) -> dict:
        size = self.command("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    def print(self, path: Path) -> Path:
        """As a PDF on the page size that the document wants."""
        found = self.command("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(found["data"]))
        return path


@contextlib.contextmanager
def browse() -> Iterator[Page]:
    """A browser with a profile of its own, both gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="browser-") as profile:
        options = Options()
        options.binary_location = BROWSER
        for word in ("--headless=new", "--disable-dev-shm-usage", f"--user-data-dir={profile}", "--no-first-run", "--disable-gpu", "--hide-scrollbars",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--mute-audio",
                     "--host-resolver-rules=MAP * ~NOTFOUND", "--force-color-profile=srgb", *(["--no-sandbox"] if os.geteuid() == 0 else [])):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(service=Service(DRIVER, log_path=os.devnull), options=options)
        try:
            driver.get("about:blank")  # Chromium's own first page asks for a lot
            driver.get_log("performance")
            yield Page(driver)
        finally:
            driver.quit()
