"""A rank that prints a given log, leaves CANN logs in their real places, and ends as its arguments say.

REPLAY is JSON: for each rank {"log": text, "plog": {"debug": text, "run": text, "device": text}, "after": rank, "until": rank,
"exit": code, "holds": true}. `after`: writes only when that rank has written its log. `until`: ends only then. `holds`: ends only on
SIGKILL.
"""

import fcntl
import json
import os
import signal
import sys
import termios
import time
from pathlib import Path

if os.environ.get("MS_ROLE") == "MS_SCHED":
    sys.exit(0)
RUN_DIR, RANK = Path(os.environ["LAUNCHER_RUN_DIR"]), os.environ["RANK_ID"]
ATTEMPT = os.environ["LAUNCHER_ATTEMPT"]
role = json.loads(os.environ["REPLAY"])[RANK]


def mark(rank: object) -> Path:
    return RUN_DIR / f"written-{ATTEMPT}-{rank}"


def wait_for(key: str) -> None:
    while key in role and not mark(role[key]).exists():
        time.sleep(0.02)


def unread() -> bool:
    """Whether the launcher has something of this log still to read."""
    count = bytearray(4)
    fcntl.ioctl(sys.stdout.fileno(), termios.FIONREAD, count)
    return any(count)


if role.get("holds"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
wait_for("after")
for kind, text in role.get("plog", {}).items():
    folder = Path(os.environ["ASCEND_PROCESS_LOG_PATH"])
    name = f"{os.getpid()}_20260102030405006.log"
    path = folder / kind / "plog" / f"plog-{name}"
    if kind == "device":
        path = folder / "debug" / "device-0" / f"device-{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
sys.stdout.write(role["log"])
sys.stdout.flush()
while unread():
    time.sleep(0.02)
mark(RANK).touch()
wait_for("until")
while role.get("holds"):
    time.sleep(1)
sys.exit(role.get("exit", 1))
