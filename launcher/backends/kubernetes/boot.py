"""The first program of a pod: get the run's code and plan from its folder, verify both, become a program of that code.

The job's manifest holds this text, so it needs nothing but Python. A folder on a mounted volume is read directly; one in an
object store is read by the launcher of the image. The last lines of a pod's output become its termination message, where
`launcher status` finds them.
"""

import hashlib
import importlib.util
import io
import json
import os
import signal
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit


def fail(words: str) -> NoReturn:
    sys.stderr.write("error: " + " ".join(words.split())[:1500] + "\n")
    sys.stderr.flush()
    sys.exit(78)


def fetch(store: dict[str, Any], name: str, digest: str) -> bytes:
    """A file of the run's folder, which must have this SHA-256."""
    parts = urlsplit(store["url"])
    if parts.scheme == "file":
        data = Path(unquote(parts.path), name).read_bytes()
    else:
        from launcher.storage.address import StoreAddress

        data = StoreAddress(**store).open(300.0).read(name)
    if hashlib.sha256(data).hexdigest() != digest:
        fail(f"{name} in the run's folder is not what was submitted; submit the run again")
    return data


def code_folder(store: dict[str, Any], digest: str, work_dir: Path) -> Path:
    """The unpacked code. Pods that share the work folder may make it at the same time: the first one counts."""
    folder = work_dir / f".code-{digest[:16]}"
    if not folder.is_dir():
        data = fetch(store, "code.zip", digest)
        part = Path(tempfile.mkdtemp(dir=work_dir, prefix=".code-new-"))
        zipfile.ZipFile(io.BytesIO(data)).extractall(part)
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    facts = json.loads(os.environ["LAUNCHER_BOOT"])
    missing = [name for name in facts["packages"] if not getattr(importlib.util.find_spec(name), "origin", 0)]
    if missing:
        fail(f"{', '.join(missing)} not installed in {sys.executable} of this image")
    work_dir = Path(facts["work_dir"])
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        code = code_folder(facts["store"], facts["code"], work_dir)
        plan = fetch(facts["store"], "plan.json", facts["plan"])
    except ImportError as error:
        fail(
            f"no launcher in {sys.executable} of this image, which has to read {facts['store']['url']} ({error})"
        )
    except Exception as error:
        fail(f"can't get the run's code and plan: {type(error).__name__}: {error}")
    number, path = tempfile.mkstemp(dir=work_dir, prefix=".plan-")
    with os.fdopen(number, "wb") as file:
        file.write(plan)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH", "")]))
    words = [sys.executable, "-P", "-m", "launcher.backends.kubernetes.entry", path, str(facts["attempt"])]
    os.execv(sys.executable, words)  # noqa: S606 - no shell


if sys.version_info < (3, 11):
    fail(f"{sys.executable} is Python {sys.version.split()[0]}, 3.11 or newer is needed")
main()
