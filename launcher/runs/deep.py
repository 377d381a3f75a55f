"""A second opinion: `ascend-fd`, the fault diagnosis of Ascend's own tools, run on the logs of one attempt."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from launcher.errors import LauncherError
from launcher.runs.folder import RunFolder
from launcher.runs.index import RunEntry

PROGRAM = "ascend-fd"
PATIENCE_S = 600.0
ABSENT = f"{PROGRAM} is not on the PATH; it comes with the component ascend-faultdiag of MindCluster"


def second_opinion(entry: RunEntry, attempt: int) -> str:
    """What `ascend-fd` says of an attempt, or why it says nothing. Blocks until it has ended. Raises StoreError."""
    program = shutil.which(PROGRAM)
    if program is None:
        return ABSENT
    with tempfile.TemporaryDirectory(prefix="launcher-deep-") as name:
        root = Path(name)
        nodes = _fetch(entry, attempt, root / "logs")
        if not nodes:
            return f"attempt {attempt} has no logs"
        try:
            for node in nodes:
                parsed = root / "parsed" / node.name.replace("node-", "worker-")
                parsed.mkdir(parents=True)
                _run(program, "parse", "-i", str(node), "-o", str(parsed))
            (root / "verdict").mkdir()
            return _run(program, "diag", "-i", str(root / "parsed"), "-o", str(root / "verdict"))
        except (OSError, subprocess.TimeoutExpired, LauncherError) as error:
            return f"{PROGRAM} failed: {error}"


def _fetch(entry: RunEntry, attempt: int, target: Path) -> list[Path]:
    """The logs of an attempt as files, one folder for each node: `train_log` for those of ranks, `process_log` for CANN's."""
    folder = RunFolder.of(entry)
    prefix = f"logs/attempt-{attempt}/"
    for key in folder.sizes(prefix):
        node, _, name = key.removeprefix(prefix).partition("/")
        kind = "process_log" if name.startswith("plog/") else "train_log"
        if not name.endswith(".log") and kind == "train_log":
            continue
        path = target / node / kind / name.removeprefix("plog/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(folder.read(key))
    return sorted(target.glob("node-*"))


def _run(*command: str) -> str:
    ended = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False
    )
    if ended.returncode != 0:
        last = (ended.stderr or ended.stdout).strip().splitlines()[-1:]
        raise LauncherError(f"exit code {ended.returncode}{': ' + last[0] if last else ''}")
    return ended.stdout.strip()
