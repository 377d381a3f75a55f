"""Compiles the C++ sources here with the machine's compiler, once per machine and version, and loads the result.

A library is called `<digest of its sources>-<its own digest>.so`. It gets that name when it is complete, and is
loaded only when its bytes have that digest and nobody else can write to the folder.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SWITCH = "VITMODELS_KERNELS"
"""Environment variable: 0 turns the compiled operators off, a path says where they are kept."""
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fPIC", "-shared", "-pthread")
NATIVE = ("-march=native", "-mcpu=native", "")  # the first one that the compiler accepts
COMPILERS = ("c++", "g++", "clang++")
TIMEOUT_S = 120.0
_limit: list[int] = []  # of threads; the last entry is in force


@dataclass(frozen=True)
class Library:
    """The loaded operators, or the reason why there are none."""

    path: Path | None
    note: str


class Unavailable(Exception):
    """Operators can't be compiled here; the text says why."""


@functools.cache
def library() -> Library:
    """The operators of this process, compiled now if this machine has none yet (a few seconds). Never raises."""
    if os.environ.get(SWITCH) == "0":
        return Library(None, f"slower operators, as {SWITCH}=0 says")
    reasons = []
    for folder in cache_folders():  # a folder may be full, have no locks, or forbid loading programs
        try:
            path = build(compiler(), private(folder))
            _load(path).set_threads(_limit[-1] if _limit else len(os.sched_getaffinity(0)))
        except (Unavailable, OSError) as error:
            reasons.append(str(error))
        else:
            return Library(path, "compiled")
    return Library(None, f"slower operators: {reasons[0]}")


def limit_threads(count: int) -> None:
    """Set how many threads an operator may use; the default is the number of cores of this process."""
    _limit.append(count)
    if library.cache_info().currsize and (path := library().path):
        _load(path).set_threads(count)


def keep_exit_code(code: int) -> None:
    """End with `code` even if another library crashes from now on; without compiled operators, do nothing."""
    if path := library().path:
        _load(path).keep_exit_code(code)


@functools.cache
def _load(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path))  # MindSpore opens the same file, so both use one pool of threads


def compiler() -> str:
    """The C++ compiler: $CXX, or the first one on the PATH. Raises Unavailable."""
    for name in (os.environ.get("CXX", ""), *COMPILERS):
        path = shutil.which(name) if name else None
        if path:
            return path
    raise Unavailable("no C++ compiler (c++, g++ or clang++, or name it in CXX)")


def cache_folders() -> list[Path]:
    """Folders for libraries, best first: the user's cache, the temporary folder; or only the folder that SWITCH names."""
    switch = os.environ.get(SWITCH, "")
    if switch not in ("", "1"):
        return [Path(switch)]
    name = f"vitmodels-kernels-{os.geteuid()}"
    return [user_cache("kernels"), Path(tempfile.gettempdir()) / name]


def user_cache(name: str) -> Path:
    """A folder of the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  never raises
    return Path(cache) / "vitmodels" / name


def private(folder: Path) -> Path:
    """The folder, made if need be. Raises Unavailable when others can write to it or this user can't, and OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Unavailable(f"others can write to {folder}")
    if not os.access(folder, os.W_OK):
        raise Unavailable(f"{folder} can't be written to")
    return folder.resolve()


def sources() -> list[Path]:
    """The C++ files, in a fixed order."""
    return sorted(path for path in Path(__file__).parent.iterdir() if path.suffix in (".cpp", ".h"))


def _key(command: str) -> str:
    """A digest of everything that the library's bytes depend on."""
    digest = hashlib.sha256()
    version = _run([command, "--version"]).stdout
    digest.update("\0".join((command, version, *FLAGS, *NATIVE, platform.machine(), _processor())).encode())
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _processor() -> str:
    """The processor's model and features, from Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    fields = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(fields)}))


def build(command: str, folder: Path) -> Path:
    """The library in `folder`, made with the compiler `command` unless it is there. Raises Unavailable, OSError."""
    key = _key(command)
    with (folder / f"{key}.lock").open("wb") as lock:
        import fcntl  # `doctor` on a laptop only asks for the compiler

        fcntl.flock(lock, fcntl.LOCK_EX)  # the first rank of a machine compiles, the others wait
        for path in folder.glob(f"{key}-*.so"):
            if path.stem == f"{key}-{_digest(path)}":
                return path
            path.unlink(missing_ok=True)
        return _compile(command, folder, key)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def _run(line: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            line, check=False, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{line[0]} does not end") from error


def _compile(command: str, folder: Path, key: str) -> Path:
    source = Path(__file__).with_name("operators.cpp")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as temporary:
        made = Path(temporary) / "made.so"
        for native in NATIVE:
            line = [command, *FLAGS, *([native] if native else []), str(source), "-o", str(made)]
            run = _run(line)
            if run.returncode == 0:
                path = folder / f"{key}-{_digest(made)}.so"
                made.replace(path)
                return path
    texts = [text.split("error:")[1].strip() for text in run.stderr.splitlines() if "error:" in text]
    raise Unavailable(f"{command} can't compile them ({(texts or ['no reason given'])[0]})")
