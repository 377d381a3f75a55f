"""A real browser on `launcher dashboard`, and what its windows ask for."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.fakes.kubernetes_network import Network, why_not
from tests.waiting import PATIENCE_S

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 240_000


def program_here() -> str:
    """Skip, loudly; where a browser is expected (LAUNCHER_TEST_BROWSER=required) fail instead."""
    if (program := next(filter(None, map(shutil.which, PROGRAMS)), None)) is None:
        if os.environ.get("LAUNCHER_TEST_BROWSER") == "required":
            pytest.fail("a Chromium should be on this machine")
        pytest.skip("NOT TESTED, no Chromium: the dashboard in a browser")
    return program


@cache
def _network() -> Network | None:
    """The browser's own, whose interfaces stay: a browser drops its connections when one comes or goes, as those of a cluster do."""
    return None if why_not() else Network()


@contextmanager
def running_browser(folder: Path) -> Iterator[Browser]:
    """A Chromium without windows; `folder` takes what starts it."""
    program = program_here()
    expect.set_options(timeout=PATIENCE_MS)
    if network := _network():
        inside = folder / "chromium"
        inside.write_text(f'#!/bin/sh\nexec nsenter --net={network.space} {program} "$@"\n')
        inside.chmod(0o700)
        program = str(inside)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def dashboard(*options: str) -> Iterator[str]:
    """The address that `launcher dashboard` prints. Ctrl-C ends it without a word of trouble."""
    command = [sys.executable, "-m", "launcher", "dashboard", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        place = ("127.0.0.1", urlsplit(address).port or 0)
        try:
            service = network.serve(place[1], place, place[0]) if (network := _network()) else None
            with closing(service) if service else nullcontext():
                yield address
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "the dashboard has ended; runs go on\n")


@dataclass
class Visit:
    """One browser window. What pages ask for, and what goes wrong in them, is kept."""

    context: BrowserContext
    address: str
    asked: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("dialog", lambda dialog: self.troubles.append(dialog.message))
        self.page.goto(self.address)

    @property
    def base(self) -> str:
        return self.address.split("/?")[0]

    def open(self, path: str) -> Page:
        self.page.goto(self.base + path)
        return self.page

    def close(self) -> None:
        self.context.close()
        assert self.troubles == []
        assert [url for url in self.asked if not url.startswith((self.base, "data:"))] == []
