"""`python -m tests.pictures`: the pictures of the README, of real runs on this machine, in a real browser. Takes a few minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
WIDTH = 1180
COLOURS = 96
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
    while '"epoch": null' in launcher("status", going, "--json"):
        time.sleep(1)
    return [*ended, going]


def take(browser: Browser, address: str, path: str, name: str, height: int) -> None:
    """A picture of the top of a page, with few colours, so that it is small."""
    page = browser.new_page(viewport={"width": WIDTH, "height": height})
    page.goto(address)
    page.goto(address.split("/?", maxsplit=1)[0] + path)
    page.wait_for_load_state("networkidle")
    target = PICTURES / name
    page.screenshot(path=target)
    Image.open(target).convert("RGB").quantize(COLOURS).save(target, optimize=True)
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
            take(browser, address, "/", "dashboard.png", 400)
            compared = "/compare?" + "&".join(f"run={run}" for run in ended)
            take(browser, address, compared, "report.png", 640)
            browser.close()
            server.terminate()
        launcher("cancel", going, "--wait")


if __name__ == "__main__":
    main()
