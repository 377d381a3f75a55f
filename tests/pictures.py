"""`python -m tests.pictures`: the pictures of the README, of real runs on this machine, in a real browser. Takes a few minutes."""

from __future__ import annotations

import io
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
WIDTH = 1180
COLOURS = 96
COLUMNS, ROWS = 100, 30
EPOCHS = 8
WATCH_S = 6.0
REDRAWN = re.compile(r"\r\x1b\[2K((?:\x1b\[1A\x1b\[2K)*)")
"""How the live view removes its last frame: this line, and each of those above it."""
SHORT = ["--set", "epochs=8", "--set", "after.export=[]", "--set", "warmup_length=1"]


def launcher(*words: str) -> str:
    command = [sys.executable, "-m", "launcher", *words]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def runs(folder: Path) -> list[str]:
    """Two that have ended, with different learning rates, and one that trains."""
    data = folder / "digits"
    subprocess.run([sys.executable, "-m", "vitmodels.digits", str(data)], cwd=ROOT, check=True)
    places = ["--set", f"data.url={data}", "--set", f"output.url={folder / 'runs'}"]
    ended = []
    for rate in ("5e-4", "2e-3"):
        words = ["jobs/digits_tnt_1p.yaml", *places, *SHORT, "--set", f"base_lr={rate}"]
        ended.append(launcher("submit", *words))
        launcher("wait", ended[-1])
    going = launcher("submit", "jobs/digits_vit_1p.yaml", *places, "--set", "epochs=200")
    while (json.loads(launcher("status", going, "--json"))["progress"]["epoch"] or 0) < EPOCHS:
        time.sleep(1)
    return [*ended, going]


def take(browser: Browser, address: str, path: str, name: str, height: int) -> None:
    """A picture of the top of a page, with few colours, so that it is small."""
    page = browser.new_page(viewport={"width": WIDTH, "height": height})
    page.goto(address)
    page.goto(address.split("/?", maxsplit=1)[0] + path)
    page.wait_for_load_state("networkidle")
    save(page, name)
    page.close()


def save(seen: Page | Locator, name: str) -> None:
    """With few colours, so that it is small."""
    target = PICTURES / name
    seen.screenshot(path=target)
    Image.open(target).convert("RGB").quantize(COLOURS).save(target, optimize=True)


def terminal(*words: str) -> str:
    """What a command has drawn on a terminal of its own after some seconds; then it gets Ctrl-C."""
    outside, inside = os.openpty()
    termios.tcsetwinsize(inside, (ROWS, COLUMNS))
    env = {**os.environ, "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "launcher", *words]
    drawn, end = b"", time.monotonic() + WATCH_S
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=inside, stdout=inside, stderr=inside, start_new_session=True
    ) as process:
        while time.monotonic() < end or not REDRAWN.search(drawn.decode(errors="replace")):
            if select.select([outside], [], [], 0.2)[0]:
                drawn += os.read(outside, 1 << 16)
        process.send_signal(signal.SIGINT)
    os.close(inside)
    os.close(outside)
    return drawn.decode(errors="replace")


def last_frame(drawn: str) -> str:
    """The lines that stay, and the last whole frame below them, with their colours."""
    lines, at, frame = [""], 0, [""]
    for redrawn in REDRAWN.finditer(drawn):
        lines = _added(lines, drawn[at : redrawn.start()])
        frame = list(lines)
        above = redrawn[1].count("A")
        lines = [*lines[: len(lines) - 1 - above], ""]
        at = redrawn.end()
    return "\n".join(frame)


def _added(lines: list[str], text: str) -> list[str]:
    first, *more = text.replace("\r\n", "\n").split("\n")
    return [*lines[:-1], lines[-1] + first, *more]


def take_terminal(browser: Browser, drawn: str, name: str) -> None:
    """A picture of what stands on a terminal."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(last_frame(drawn)))
    page = browser.new_page(viewport={"width": WIDTH, "height": 640})
    page.set_content(console.export_html(theme=SVG_EXPORT_THEME, inline_styles=True))
    save(page.locator("pre"), name)
    page.close()


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as text:
        os.environ["LAUNCHER_HOME"] = str(Path(text) / "home")
        ended, going = (found := runs(Path(text)))[:-1], found[-1]
        command = [sys.executable, "-m", "launcher", "dashboard"]
        with (
            sync_playwright() as playwright,
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server,
        ):
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            take_terminal(browser, terminal("attach", going), "live.png")
            take(browser, address, "/", "dashboard.png", 400)
            compared = "/compare?" + "&".join(f"run={run}" for run in ended)
            take(browser, address, compared, "report.png", 640)
            browser.close()
            server.terminate()
        launcher("cancel", going, "--wait")


if __name__ == "__main__":
    main()
