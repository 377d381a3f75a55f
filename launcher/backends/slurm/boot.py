"""The first program on every node of a Slurm job: get the run's code and plan, then become a program of that code.

The batch script holds this text, so it needs nothing but Python. A run's folder on a path that the nodes
share is read directly; one in an object store is read by the launcher that is installed on the node. What goes wrong is
written to the job's comment, where `launcher status` finds it whatever the node can reach.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit


def give_up(words: str) -> NoReturn:
    words = " ".join(f"{socket.gethostname()}: {words}".split())[:1000]
    sys.stderr.write(f"error: {words}\n")
    comment = f"Comment={os.environ['LAUNCHER_COMMENT']} {words}"
    command = ["scontrol", "update", f"JobId={os.environ['LAUNCHER_SLURM_JOB']}", comment]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(command, timeout=60, check=False)
    sys.exit(78)


if sys.version_info < (3, 10):  # noqa: UP036 - asked before anything that an old one does not understand
    give_up(f"{sys.executable} is Python {sys.version.split()[0]}, 3.10 or newer is needed")


def read(store: dict[str, Any], name: str) -> bytes:
    parts = urlsplit(store["url"])
    if parts.scheme == "file":
        return Path(unquote(parts.path), name).read_bytes()
    from launcher.storage.address import StoreAddress

    return StoreAddress(**store).open().read(name)


def keep(path: Path, data: bytes) -> None:
    number, temporary = tempfile.mkstemp(dir=path.parent, prefix=".boot-")
    with os.fdopen(number, "wb") as file:
        file.write(data)
    Path(temporary).replace(path)


def unpack(store: dict[str, Any], digest: str, run_dir: Path) -> Path:
    folder = run_dir / f".code-{digest[:16]}"
    if folder.is_dir():
        return folder
    data = read(store, "code.zip")
    if hashlib.sha256(data).hexdigest() != digest:
        give_up("the code in the run's folder is not what was submitted; submit the run again")
    temporary = tempfile.mkdtemp(dir=run_dir, prefix=".code-new-")
    zipfile.ZipFile(io.BytesIO(data)).extractall(temporary)
    try:
        Path(temporary).rename(folder)
    except OSError:  # another node that shares this folder has made it
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def bring_plan(store: dict[str, Any], digest: str, path: Path) -> None:
    """What is on this disk may be of an earlier attempt, which had another plan."""
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
        return
    data = read(store, "plan.json")
    if hashlib.sha256(data).hexdigest() != digest:
        give_up("the plan in the run's folder is not what was submitted; submit the run again")
    keep(path, data)


def check_image(code: Path, packages: list[str]) -> None:
    """Say what this Python lacks, by the module launcher.imagecheck of the run's code, and give up where it can't run launcher."""
    spec = importlib.util.spec_from_file_location("imagecheck", code / "launcher" / "imagecheck.py")
    if spec is None or spec.loader is None:
        return
    check = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = check
    spec.loader.exec_module(check)
    good, lines = check.report([need for need in check.BASE if need.without or need.module in packages])
    sys.stderr.writelines(f"{socket.gethostname()}: {line}\n" for line in lines)
    if not good:
        lacking = [
            lack for lack in check.lacks(check.BASE) if lack.need.module in packages and not lack.need.without
        ]
        names = ", ".join(lack.need.module for lack in lacking)
        give_up(f"{names} not installed in {sys.executable}; {check.pip_line(lacking)}")


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    facts, run = json.loads(os.environ["LAUNCHER_BOOT"]), os.environ["LAUNCHER_RUN"]
    store = {**facts["store"], "url": facts["store"]["url"] + "/" + run}
    missing = [
        name for name in facts["packages"] if not getattr(importlib.util.find_spec(name), "origin", None)
    ]
    if missing and urlsplit(store["url"]).scheme != "file":  # reading the store needs them
        give_up(f"{', '.join(missing)} not installed in {sys.executable}")
    run_dir = Path(facts["work_dir"], run)
    code = run_dir
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        code = unpack(store, facts["code"], run_dir)
        check_image(code, facts["packages"])
        bring_plan(store, os.environ["LAUNCHER_PLAN"], run_dir / "plan.json")
    except ImportError as error:
        where = f"and {store['url']} is no path that all nodes share"
        give_up(f"no launcher is installed in {sys.executable}, {where} ({error})")
    except Exception as error:
        give_up(f"can't get the run's code and plan: {type(error).__name__}: {error}")
    others = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{code}{os.pathsep}{others}" if others else str(code)
    program = [sys.executable, "-P", "-m", "launcher.backends.slurm.node", *sys.argv[1:], str(run_dir)]
    os.execv(sys.executable, program)  # noqa: S606


main()
